import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { hex, type Iova } from "../iova.js";
import { factsOf, type SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import type { DmaMapping } from "./container.js";
import type { ContainerKind } from "./container-kind.js";
import type { Group } from "./group.js";
import { isolationHint } from "./isolated-interrupts.js";
import { lockLimit } from "./lock-limit.js";
import type { IovaSize } from "./mapping-probe.js";
import { type About, type Meaning, nodeRefusal, refusal } from "./refusal.js";

const NO_VFIO_HINT = "modprobe vfio-pci vfio_iommu_type1 (a kernel with CONFIG_VFIO, and an IOMMU that is switched on)";

/** Why `/dev/vfio/vfio` could not be opened. */
export function openRefused(error: unknown, path: string, about: About): unknown {
  const missing: Meaning = { code: "ERR_IOSPAN_NO_VFIO", message: `${path} is not there`, hint: NO_VFIO_HINT };
  return nodeRefusal(error, about, {
    path,
    missing,
    forbiddenHint: `chmod 0666 ${path} (its usual mode)`,
    logged: "vfio",
  });
}

/** Why the first group's IOMMU could not be put behind a container (vfio_iommu_type1.c, vfio_iommu_type1_attach_group). */
export function setIommuRefused(error: unknown, group: Group): unknown {
  const about = { device: group.device, iommu: group.iommu };
  return refusal(
    error,
    about,
    {
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      message: `the IOMMU ${group.iommu} cannot be set up for group ${group.id} of ${group.device}`,
      hint: "the kernel log says more: dmesg | grep -e vfio -e iommu",
    },
    {
      [errno.EPERM]: unsafeInterrupts(group),
      [errno.ENODEV]: {
        code: "ERR_IOSPAN_NO_VFIO",
        message: `no IOMMU backend takes group ${group.id} of ${group.device}`,
        hint: "modprobe vfio_iommu_type1",
      },
    },
  );
}

/** What EPERM from the type1 backend means. */
export function unsafeInterrupts(group: Group): Meaning {
  return {
    code: "ERR_IOSPAN_UNSAFE_INTERRUPTS",
    message: `${group.device} (group ${group.id}) has no isolated interrupts: it could raise another device's`,
    hint: isolationHint(group.iommu, "vfio_iommu_type1"),
  };
}

function pagesText(bytes: number): string {
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}

function limitText(bytes: number | undefined): string {
  if (bytes === undefined) return "unknown";
  return bytes === Number.POSITIVE_INFINITY ? "unlimited" : pagesText(bytes);
}

/**
 * What ENOMEM means: nearly always the limit on locked memory, which a process with CAP_IPC_LOCK does not have; else the machine
 * has run out. `counted` says once for what memory counts.
 */
function memlock(mapping: DmaMapping, syscalls: Syscalls, counted: string): Meaning {
  const { bytes, isWithout } = lockLimit(syscalls);
  if (isWithout) return noMemory(mapping);
  return {
    code: "ERR_IOSPAN_MEMLOCK",
    message: `${pagesText(mapping.size)} more cannot be locked in memory; the limit for the process is ${limitText(bytes)}, or the machine is short of memory`,
    hint:
      "raise the limit: ulimit -l unlimited in the shell, LimitMEMLOCK=infinity in a systemd unit, or " +
      `'* - memlock unlimited' in /etc/security/limits.conf; memory counts ${counted}; with CAP_IPC_LOCK it is not limited: free memory then`,
  };
}

function noMemory({ size }: DmaMapping): Meaning {
  return {
    code: "ERR_IOSPAN_NO_MEMORY",
    message: `the machine has no memory left to lock ${pagesText(size)} in, or for the IOMMU's page tables; no limit on locked memory is in the way`,
    hint: "free memory, or raise memory.max of the process's cgroup",
  };
}

/** A container, and whom its errors are about. */
interface AboutContainer {
  readonly about: About;
  readonly kind: ContainerKind;
}

/** Why VFIO_IOMMU_MAP_DMA was refused (vfio_iommu_type1.c, vfio_dma_do_map; iommufd/vfio_compat.c, iommufd_vfio_map_dma). */
export function mapRefused(
  error: unknown,
  mapping: DmaMapping,
  { about, kind }: AboutContainer,
  syscalls: Syscalls,
): unknown {
  const refused = { mapping, about, syscalls };
  if (kind === "type1") {
    const own = { [errno.ENOSPC]: noEntry(about), [errno.EINVAL]: outOfRangeOrScattered(mapping, about, syscalls) };
    return mappingRefused(error, { ...refused, counted: COUNTED }, own);
  }
  const counted = `${COUNTED}, or, where /dev/vfio/vfio is a link to /dev/iommu, for all processes of a user together`;
  return mappingRefused(error, { ...refused, counted }, { [errno.ENODEV]: noAddressSpace, ...unpinnable(mapping) });
}

const COUNTED = "once for every container it is mapped in";

function noEntry({ iommu }: About): Meaning {
  return {
    code: "ERR_IOSPAN_DMA_ENTRY_LIMIT",
    message: `the container of ${iommu} has no entry left for another mapping`,
    hint:
      "use fewer, larger mappings, or raise the limit before opening: " +
      "echo 262144 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
  };
}

const noAddressSpace: Meaning = {
  code: "ERR_IOSPAN_MAP_REFUSED",
  message: "the iommufd that is the container has no address space to map in: it gets one with its first group",
  hint: "attach a group first",
};

/** Type1 pins registers, too. */
function unpinnable({ address, access }: DmaMapping): Readonly<Record<number, Meaning>> {
  const unpinned: Meaning = {
    code: "ERR_IOSPAN_MAP_MEMORY",
    message: `the memory at ${hex(address)} cannot be pinned with access "${access}"`,
    hint:
      'it must be mapped in this process, and writable unless access is "read"; registers of a device cannot be mapped where ' +
      "the container is an iommufd, and can with VFIO's own (CONFIG_VFIO_CONTAINER)",
  };
  return { [errno.EFAULT]: unpinned };
}

/** A mapping that was refused, and what to say of it. */
interface RefusedMapping {
  readonly mapping: DmaMapping;
  readonly about: About;
  readonly syscalls: Syscalls;
  /** Once for what memory counts against RLIMIT_MEMLOCK. */
  readonly counted: string;
}

/** Why memory could not be mapped, by whichever call. `others` are what only that call answers. */
export function mappingRefused(
  error: unknown,
  { mapping, about, syscalls, counted }: RefusedMapping,
  others: Readonly<Record<number, Meaning>> = {},
): unknown {
  const where = whereText(mapping, about);
  const range = outOfRange(mapping, about);
  return refusal(
    error,
    about,
    {
      code: "ERR_IOSPAN_MAP_REFUSED",
      message: `${where} cannot be mapped`,
      hint: "the kernel log says more: dmesg | grep -e vfio -e iommu",
    },
    {
      [errno.EEXIST]: {
        code: "ERR_IOSPAN_MAP_OVERLAP",
        message: `${where} overlap a mapping`,
        hint: "unmap it first, or leave out `iova` to have a free one chosen",
      },
      // memlockLimit() is a system call of its own: only asked where it matters.
      ...(isMemoryShortage(error) ? { [errno.ENOMEM]: memlock(mapping, syscalls, counted) } : {}),
      [errno.EFAULT]: {
        code: "ERR_IOSPAN_MAP_MEMORY",
        message: `the memory at ${hex(mapping.address)} cannot be pinned with access "${mapping.access}"`,
        hint: 'it must be mapped in this process, and writable unless access is "read"',
      },
      [errno.EINVAL]: range,
      [errno.EOVERFLOW]: range,
      [errno.ERANGE]: {
        code: "ERR_IOSPAN_MAP_RANGE",
        message: `the memory for ${where} has physical addresses that the IOMMU cannot output`,
        hint: "use memory at lower physical addresses (another NUMA node, or mem= on the kernel's command line)",
      },
      ...others,
    },
  );
}

/** What EINVAL and EOVERFLOW mean, without a word on what the memory is made of. */
function outOfRange(mapping: DmaMapping, about: About): Meaning {
  return {
    code: "ERR_IOSPAN_MAP_RANGE",
    message: `${whereText(mapping, about)} are misaligned, in a reserved range (Arm keeps 0x8000000-0x80fffff for MSIs) or beyond the aperture`,
    hint: "space.iovaRanges and space.pageSizes say what is valid; leave out `iova` to have one chosen",
  };
}

function whereText({ size, iova }: DmaMapping, { iommu }: About): string {
  return `${hex(size)} bytes at IOVA ${hex(iova)} behind ${iommu}`;
}

/**
 * The same from the type1 backend, which takes IOMMUs whose pages are larger than the processor's (an iommufd does not: iommufd/
 * io_pagetable.c, iopt_table_add_domain), and finds out when it maps that the pages of the memory are not contiguous
 * (drivers/iommu/iommu.c, "unaligned: iova" in the kernel log). What is aligned to the processor's pages alone is refused for that.
 */
function outOfRangeOrScattered(mapping: DmaMapping, about: About, { pageSize }: Syscalls): Meaning {
  const range = outOfRange(mapping, about);
  const pages = (mapping.iova | mapping.address | BigInt(mapping.size)) / BigInt(pageSize);
  if (pages % 2n !== 0n) return range;
  return {
    ...range,
    message: `${range.message}; or the memory is not physically contiguous in pieces of the IOMMU's pages, where those are larger than the processor's`,
    hint:
      `${range.hint}; contiguous is memory of huge pages: hugePages: "2MiB" (reserved ones), or "try" for 2 MiB or more where some are ` +
      "reserved or /sys/kernel/mm/transparent_hugepage/enabled is not never; space.allocate() takes it by itself",
  };
}

function isMemoryShortage(error: unknown): boolean {
  return error instanceof Error && "errno" in error && error.errno === errno.ENOMEM;
}

/** An unmap that was refused. */
interface RefusedUnmap {
  readonly iova: Iova;
  /** Bytes to unmap. */
  readonly size: number;
  /** Bytes that the kernel says are unmapped although it refused: an iommufd goes mapping by mapping. */
  readonly gone: bigint;
}

const WHOLE_MAPPINGS = "they must be whole mappings, as they were mapped";

/**
 * Why VFIO_IOMMU_UNMAP_DMA was refused (vfio_iommu_type1.c, vfio_dma_do_unmap; iommufd/vfio_compat.c). Nothing was unmapped
 * then, except where an iommufd came upon a mapping that the range cuts.
 */
export function unmapRefused(error: unknown, { iova, size, gone }: RefusedUnmap, about: About): unknown {
  const what = `${hex(size)} bytes at IOVA ${hex(iova)} behind ${about.iommu} cannot be unmapped`;
  const refused = { code: "ERR_IOSPAN_UNMAP_REFUSED", message: what, hint: WHOLE_MAPPINGS } as const;
  const cut: Meaning =
    gone === 0n ? refused : { ...refused, message: `${what}: ${hex(gone)} of them are, the rest is not` };
  return refusal(error, about, refused, { [errno.ENOENT]: cut });
}

/** A range that was not unmapped, and the kernel not asked to, since it cuts a mapping. */
export function cutsMapping(iova: Iova, size: number, mapping: IovaSize, about: About): IospanError {
  return new IospanError(
    "ERR_IOSPAN_UNMAP_REFUSED",
    `${hex(size)} bytes at IOVA ${hex(iova)} behind ${about.iommu} cut the mapping of ${hex(mapping.size)} bytes at ` +
      `${hex(mapping.iova)} and are not unmapped`,
    { ...about, hint: WHOLE_MAPPINGS },
  );
}

/** A container that did not say whether something is mapped. */
export function probeRefused(error: SyscallError, iova: Iova, size: bigint, about: About): IospanError {
  return new IospanError(
    "ERR_IOSPAN_SYSCALL",
    `cannot ask whether ${hex(iova)} (${hex(size)} bytes) is mapped behind ${about.iommu}: ${error.message}`,
    { ...about, ...factsOf(error), hint: "the kernel log may say more: dmesg | tail" },
  );
}

/**
 * A container that lost mappings, or never had them.
 * @param device the devices whose groups are inside, joined.
 */
export function shortUnmap(
  iova: Iova,
  size: number,
  unmapped: number,
  iommu: string,
  device?: string | undefined,
): IospanError {
  return new IospanError(
    "ERR_IOSPAN_UNMAP_SHORT",
    `only ${unmapped} of ${size} bytes at IOVA ${hex(iova)} were mapped behind ${iommu}`,
    { device, iommu, hint: "something else than this space unmaps in its containers; devices may have missed DMA" },
  );
}
