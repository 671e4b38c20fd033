import { IospanError } from "../errors.js";
import type { DmaBufAnswer } from "../iommufd/dma-buf-question.js";
import type { Fd } from "../syscalls/syscalls.js";
import { exportDmaBuf, exportsDmaBufs } from "../vfio/dma-buf.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import { PerKernel } from "../vfio/per-kernel.js";
import type { Region, RegionHandle } from "../vfio/region.js";
import type { MapTarget } from "./strategies/strategy.js";

/**
 * How a device's registers come into an I/O address space. `bar-mapping`: VFIO's type1 takes the process's mmap of them
 * (drivers/vfio/vfio_iommu_type1.c, follow_fault_pfn). `dma-buf`: the device's driver gives them as a dma-buf, which an
 * iommufd maps (drivers/vfio/pci/vfio_pci_dmabuf.c).
 */
export const peerMechanisms = ["bar-mapping", "dma-buf"] as const;
/** One of {@link peerMechanisms}. */
export type PeerMechanism = (typeof peerMechanisms)[number];

/** Whether the other devices of a space can be given a region; see `IoAddressSpace.peerToPeer`. */
export interface PeerToPeer {
  readonly supported: boolean;
  /** What the space's strategy would use or uses, also where the region, or the kernel, cannot; undefined where it has no way. */
  readonly mechanism: PeerMechanism | undefined;
  readonly reason: string;
  /** What to do about it; undefined where it is supported. */
  readonly hint?: string;
}

const TYPE1_HINT =
  'open the space with { strategy: "mirrored" } on a kernel with VFIO\'s own containers (CONFIG_VFIO_CONTAINER)';
const DMA_BUF_KERNEL = "Linux 6.19 or newer with CONFIG_VFIO_PCI_DMABUF (from CONFIG_PCI_P2PDMA)";

/** What a kernel's iommufd does with dma-bufs of registers does not change: it is asked once. */
const answers = new PerKernel<{ mapsDmaBufs?: boolean }>(() => ({}));

/** Has an iommufd answer whether it takes a page of a region. */
type Ask = (handle: RegionHandle, target: MapTarget, pageSize: number) => DmaBufAnswer | IospanError | undefined;

/** Asks without changing anything: nothing comes into an IOMMU. @param targets what the space maps into */
export function peerToPeer(region: Region, targets: readonly MapTarget[], ask: Ask = askForPage): PeerToPeer {
  const { handle } = region;
  const [target] = targets;
  if (target === undefined) return unable(undefined, "the space has no interface to map for", "attach() one");
  if (target.takesDmaBuf !== undefined) return byDmaBuf(handle, target, ask);
  if (targets.every(({ kind }) => kind === "type1")) return byMapping(handle);
  const reason = `the container of ${target.devices} is an iommufd, which maps no registers by their address (EFAULT)`;
  return unable(undefined, reason, `${TYPE1_HINT}, or with { strategy: "iommufd" } on ${DMA_BUF_KERNEL}`);
}

/**
 * What mapping it takes; whether its device gives the registers just now, the mapping itself finds out.
 * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` with the reason.
 */
export function requirePeerToPeer(region: Region, targets: readonly MapTarget[]): PeerMechanism {
  const { supported, mechanism, reason, hint = TYPE1_HINT } = peerToPeer(region, targets, askOnce);
  if (supported && mechanism !== undefined) return mechanism;
  const { device, iommu } = region.handle;
  const message = `${region.name} of ${device} cannot be mapped for other devices: ${reason}`;
  throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", message, { device, iommu, hint });
}

/**
 * For what no space maps, whichever way it has: configuration space, ports, ROMs, and registers that share a page with others.
 * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` with the reason.
 */
export function requireMappableRegion({ region, device, iommu, syscalls }: RegionHandle): void {
  if (region.mmapAreas.length > 0 || isWholeBar(region, syscalls.pageSize)) return;
  const message = `${region.name} of ${device} cannot be mapped for other devices: it is no BAR, nor register frame, of whole pages`;
  throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", message, {
    ...{ device, iommu },
    hint: "region.mmapAreas says what can be mapped; space.peerToPeer(region) answers without an error",
  });
}

function isWholeBar({ name, size }: Pick<Region, "name" | "size">, pageSize: number): boolean {
  return /^bar\d$/.test(name) && size >= pageSize;
}

function byMapping({ region, device }: RegionHandle): PeerToPeer {
  const mechanism = "bar-mapping";
  if (region.mmapAreas.length > 0) {
    return { supported: true, mechanism, reason: `VFIO's type1 maps what the process has mmapped of ${region.name}` };
  }
  const hint = "region.mmapAreas says what can: BARs, and register frames, of whole pages";
  return unable(mechanism, `${region.name} of ${device} cannot be mapped into the process`, hint);
}

function byDmaBuf(handle: RegionHandle, target: MapTarget, ask: Ask): PeerToPeer {
  const { region, device } = handle;
  const mechanism = "dma-buf";
  const { pageSize } = handle.syscalls;
  if (!exportsDmaBufs(handle)) {
    const reason = `the kernel does not give registers of ${device} as a dma-buf`;
    return unable(mechanism, reason, `for PCI devices it takes ${DMA_BUF_KERNEL}; or ${TYPE1_HINT}`);
  }
  if (!isWholeBar(region, pageSize)) {
    const hint = "take a memory BAR of a page or more";
    return unable(mechanism, `${region.name} of ${device} is no BAR of whole pages`, hint);
  }
  const answer = ask(handle, target, pageSize);
  if (answer instanceof IospanError) return unable(mechanism, answer.message, `${answer.hint}; or ${TYPE1_HINT}`);
  switch (answer) {
    case "taken":
      return { supported: true, mechanism, reason: `iommufd maps a dma-buf of ${region.name}` };
    case "revoked":
      return unable(mechanism, `${device} does not decode memory now`, "set bit 1 of the PCI command register");
    default:
      return unable(
        mechanism,
        "the kernel's iommufd maps no dma-bufs of registers",
        `it takes ${DMA_BUF_KERNEL}; or ${TYPE1_HINT}`,
      );
  }
}

/** Asks the first time only. */
function askOnce(handle: RegionHandle, target: MapTarget, pageSize: number): DmaBufAnswer | IospanError | undefined {
  const known = answers.of(handle.syscalls);
  if (known.mapsDmaBufs === undefined) {
    const answer = askForPage(handle, target, pageSize);
    if (answer === undefined || answer instanceof IospanError) return answer;
    known.mapsDmaBufs = answer !== "unknown";
  }
  return known.mapsDmaBufs ? "taken" : "unknown";
}

/** @returns the iommufd's answer, or why the kernel does not give it anything to answer for. */
function askForPage(handle: RegionHandle, target: MapTarget, pageSize: number): DmaBufAnswer | IospanError | undefined {
  let fd: Fd;
  try {
    fd = exportDmaBuf(handle, { offset: 0, size: pageSize });
  } catch (error) {
    if (error instanceof IospanError && error.code === "ERR_IOSPAN_REGION_ACCESS") return error;
    throw error;
  }
  const close = () => handle.syscalls.close(fd);
  let answer: DmaBufAnswer | undefined;
  try {
    answer = target.takesDmaBuf?.(fd, pageSize);
  } catch (error) {
    throw withFailures(error, failuresOf(close));
  }
  close();
  return answer;
}

function unable(mechanism: PeerMechanism | undefined, reason: string, hint: string): PeerToPeer {
  return { supported: false, mechanism, reason, hint };
}
