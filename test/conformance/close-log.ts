import assert from "node:assert/strict";
import type { Call, Fd, IoAddressSpace, Machine } from "iospan";
import { ioasUnmap } from "../../src/abi/iommufd-ioas.js";
import { bindIommufd } from "../../src/abi/vfio-cdev.js";
import { dmaUnmap, VFIO_DMA_UNMAP_FLAG } from "../../src/abi/vfio-container.js";
import { containerFd } from "../../src/abi/vfio-group.js";
import { irqSet, VFIO_IRQ_SET } from "../../src/abi/vfio-irq.js";
import { VFIO_PCI_REGION_INDEX } from "../../src/abi/vfio-region.js";
import { intercepted } from "../../src/syscalls/intercepted.js";

/** What happens to devices, groups, containers and memory when they are closed. */
type Deed =
  | "interrupt off"
  | "bus master off"
  | "reset"
  | "close device"
  /** Of an iommufd a device leaves when it is closed. */
  | "leave container"
  | "close group"
  | "unmap"
  | "close container"
  | "memory changed";

/** One deed, from when it was begun to when it had been done, or refused: numbers that grow. */
export interface Step {
  readonly deed: Deed;
  /** A device's name; of containers and iommufds their descriptor. */
  readonly of: string;
  readonly call: Call;
  readonly begun: number;
  ended: number;
}

/** PCI_COMMAND in the configuration space, as an offset in vfio-pci's file (VFIO_PCI_OFFSET_SHIFT is 40). */
const COMMAND = (BigInt(VFIO_PCI_REGION_INDEX.CONFIG) << 40n) + 4n;
const BUS_MASTER = 1 << 2;
/** Where devices have nodes of their own. */
const CDEVS = "/dev/vfio/devices/";

/** Writes down, from {@link start} on, in which order a machine's devices are closed. */
export class CloseLog {
  /** What to open the devices on. */
  readonly machine: Machine;
  readonly steps: Step[] = [];
  readonly #machine: Machine;
  /** Devices by descriptor, and the groups that they are of. */
  readonly #devices = new Map<Fd, string>();
  readonly #groups = new Map<Fd, string>();
  readonly #containerOfGroup = new Map<Fd, Fd>();
  /** Iommufds by device. */
  readonly #iommufds = new Map<string, Fd>();
  #recording = false;
  #time = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.machine = { syscalls: intercepted(machine.syscalls, this.#around) };
  }

  start(): void {
    this.#recording = true;
  }

  of(deed: Deed, of?: string): readonly Step[] {
    return this.steps.filter((step) => step.deed === deed && (of === undefined || step.of === of));
  }

  /** The container that a device's group is or was in, or the iommufd that the device is or was bound to. */
  containerOf(device: string): string {
    const iommufd = this.#iommufds.get(device);
    if (iommufd !== undefined) return String(iommufd);
    const [group] = [...this.#groups].find(([, name]) => name === device) ?? [];
    const container = group === undefined ? undefined : this.#containerOfGroup.get(group);
    assert.ok(container !== undefined, `${device} was not opened`);
    return String(container);
  }

  /** Calls that change what lies at addresses of the process. */
  changesOf(address: bigint, size: number): readonly Step[] {
    return this.of("memory changed").filter(({ call }) => {
      const request = typeof call.argument === "object" && "length" in call.argument ? call.argument : undefined;
      const start = call.address ?? (request !== undefined && "address" in request ? request.address : undefined);
      const length = call.length ?? request?.length ?? 0;
      return start !== undefined && start < address + BigInt(size) && start + BigInt(length) > address;
    });
  }

  /** Every mapping was unmapped in that container. */
  assertUnmapped(mappings: IoAddressSpace["mappings"], container: string): void {
    const asked = this.of("unmap", container).map(({ call }) => unmappedBy(call));
    for (const { iova, size } of mappings) {
      const end = iova + BigInt(size);
      const done = asked.some((one) => one.start <= iova && one.end >= end);
      assert.ok(done, `0x${iova.toString(16)} was not unmapped in container ${container}`);
    }
  }

  readonly #around = <T>(call: Call, proceed: () => T): T => {
    const step = this.#begin(call);
    const ended = () => {
      if (step !== undefined) step.ended = this.#tick();
    };
    let result: T;
    try {
      result = proceed();
    } catch (error) {
      ended();
      throw error;
    }
    if (!(result instanceof Promise)) {
      ended();
      this.#learn(call, result);
    } else {
      result.then((answer) => {
        ended();
        this.#learn(call, answer);
      }, ended);
    }
    return result;
  };

  /** The device behind `vfio3`, whose link is `…/0000:02:00.0/vfio-dev/vfio3`. */
  #nameOf(node: string): string {
    const parts = this.#machine.syscalls.readLink(`/sys/class/vfio-dev/${node}`).split("/");
    return parts.at(-3) ?? "";
  }

  #tick(): number {
    this.#time += 1;
    return this.#time;
  }

  #begin(call: Call): Step | undefined {
    const [deed, of] = this.#recording ? this.#deedOf(call) : [];
    if (deed === undefined || of === undefined) return undefined;
    // The kernel answers in the same bytes.
    const argument = call.argument instanceof Uint8Array ? call.argument.slice() : call.argument;
    const kept: Call = argument === undefined ? call : { ...call, argument };
    const step = { deed, of, call: kept, begun: this.#tick(), ended: Number.POSITIVE_INFINITY };
    this.steps.push(step);
    return step;
  }

  #deedOf({ name, fd, ioctl, argument, offset }: Call): [Deed, string | undefined] | [] {
    if (name === "munmap" || name === "mmap") return ["memory changed", ""];
    if (fd === undefined) return [];
    const device = this.#devices.get(fd);
    const bytes = argument instanceof Uint8Array ? argument : new Uint8Array();
    if (name === "close") return this.#closed(fd, device);
    if (name === "pwrite64" && offset === COMMAND && ((bytes[0] ?? 0) & BUS_MASTER) === 0)
      return ["bus master off", device];
    if (ioctl?.name === "VFIO_DEVICE_SET_IRQS" && isOff(bytes)) return ["interrupt off", device];
    if (ioctl?.name === "VFIO_DEVICE_RESET") return ["reset", device];
    if (ioctl?.name === "VFIO_IOMMU_UNMAP_DMA" || ioctl?.name === "IOMMU_IOAS_UNMAP") return ["unmap", String(fd)];
    if (ioctl?.name === "VFIO_GROUP_UNSET_CONTAINER") return ["leave container", this.#groups.get(fd)];
    return [];
  }

  #closed(fd: Fd, device: string | undefined): [Deed, string] | [] {
    if (device !== undefined) return ["close device", device];
    const group = this.#groups.get(fd);
    if (group !== undefined) return ["close group", group];
    const containers = [...this.#containerOfGroup.values(), ...this.#iommufds.values()];
    return containers.includes(fd) ? ["close container", String(fd)] : [];
  }

  #learn({ fd, ioctl, argument, path }: Call, answer: unknown): void {
    if (path?.startsWith(CDEVS)) this.#devices.set(answer as Fd, this.#nameOf(path.slice(CDEVS.length)));
    if (fd === undefined || !(argument instanceof Uint8Array)) return;
    if (ioctl?.name === "VFIO_GROUP_SET_CONTAINER")
      this.#containerOfGroup.set(fd, containerFd.decode(argument).fd as Fd);
    if (ioctl?.name === "VFIO_DEVICE_BIND_IOMMUFD")
      this.#iommufds.set(this.#devices.get(fd) ?? "", bindIommufd.decode(argument).iommufd as Fd);
    if (ioctl?.name !== "VFIO_GROUP_GET_DEVICE_FD") return;
    const name = new TextDecoder().decode(argument).replace("\0", "");
    this.#groups.set(fd, name);
    this.#devices.set(answer as Fd, name);
  }
}

/** The IOVAs that a call unmaps. */
function unmappedBy({ ioctl, argument }: Call): { readonly start: bigint; readonly end: bigint } {
  assert.ok(argument instanceof Uint8Array);
  if (ioctl?.name === "IOMMU_IOAS_UNMAP") {
    const { iova, length } = ioasUnmap.decode(argument);
    return { start: iova, end: iova + length };
  }
  const { flags, iova, size } = dmaUnmap.decode(argument);
  const all = (flags & VFIO_DMA_UNMAP_FLAG.ALL) !== 0;
  return { start: iova, end: all ? 2n ** 64n : iova + size };
}

/** The first all happen, and have happened before any of the others begins. */
export function precede(before: readonly Step[], after: readonly Step[], what: string): void {
  assert.ok(before.length > 0, `${what}: the first never happens`);
  const last = Math.max(...before.map(({ ended }) => ended));
  const first = Math.min(...after.map(({ begun }) => begun));
  assert.ok(last < first, what);
}

/** Taking an interrupt's eventfd away: all of the index off, or the vectors' descriptors -1. */
function isOff(bytes: Uint8Array): boolean {
  const { flags, count } = irqSet.decode(bytes);
  if ((flags & VFIO_IRQ_SET.ACTION_TRIGGER) === 0) return false;
  const eventfds = new Int32Array(bytes.slice(irqSet.size).buffer);
  return count === 0 || ((flags & VFIO_IRQ_SET.DATA_EVENTFD) !== 0 && eventfds.every((fd) => fd === -1));
}
