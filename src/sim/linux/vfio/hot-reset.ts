import {
  dependentDevice,
  dependentDeviceById,
  hotReset,
  hotResetInfo,
  VFIO_PCI_DEVID,
  VFIO_PCI_HOT_RESET_FLAG,
} from "../../../abi/vfio-pci-reset.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { KernelDevice } from "../drivers/device.js";
import { copyOut, readStruct, userBytes } from "../files/user-argument.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import type { PciBuses } from "./pci-buses.js";
import type { BoundTo, VfioDevice } from "./vfio-device.js";
import { GroupFile, type VfioGroup } from "./vfio-group.js";

const { DEV_ID, DEV_ID_OWNED } = VFIO_PCI_HOT_RESET_FLAG;

/** The kernel around a hot reset. */
export interface HotResetKernel {
  readonly process: Process;
  readonly buses: PciBuses;
  /** Everything on a VFIO driver. */
  readonly registered: () => readonly VfioDevice[];
}

/** The reset of the bus that a PCI function is on (drivers/vfio/pci/vfio_pci_core.c). */
export class HotReset {
  readonly #device: KernelDevice;
  readonly #kernel: HotResetKernel;

  constructor(device: KernelDevice, kernel: HotResetKernel) {
    this.#device = device;
    this.#kernel = kernel;
  }

  /** VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. */
  tell(argument: IoctlArgument): number {
    const { argsz } = readStruct(hotResetInfo, argument);
    if (argsz < hotResetInfo.size) refuse("EINVAL");
    const hit = this.#hit();
    const room = Math.floor((argsz - hotResetInfo.size) / dependentDevice.size);
    if (hit.length > room) {
      copyOut(argument, hotResetInfo.encode({ argsz, flags: 0, count: hit.length }));
      refuse("ENOSPC");
    }
    const bound = this.#bound;
    if (bound === undefined) this.#tellGroups(argument, argsz, hit);
    else this.#tellIds(argument, argsz, hit, bound);
    return 0;
  }

  /** VFIO_DEVICE_PCI_HOT_RESET. */
  reset(argument: IoctlArgument): number {
    const { argsz, flags, count } = readStruct(hotReset, argument);
    if (argsz < hotReset.size || flags !== 0) refuse("EINVAL");
    const bound = this.#bound;
    if (count > 0 === (bound !== undefined)) refuse("EINVAL");
    const hit = this.#hit();
    const groups = count > 0 ? this.#groups(argument, count, hit.length) : new Set<VfioGroup>();
    this.#requireOwned(hit, ({ group, bound: of }) => {
      return bound === undefined ? groups.has(group) : this.#idOf(bound, of, group) !== VFIO_PCI_DEVID.NOT_OWNED;
    });
    // pci_bus_save_and_disable_locked and pci_bus_restore_locked: what the configuration space said it says again.
    for (const { operations } of this.#set) operations.moveRegisters?.(true);
    for (const device of hit) device.reset();
    for (const { operations } of this.#set) operations.moveRegisters?.(false);
    return 0;
  }

  get #own(): VfioDevice | undefined {
    return this.#kernel.registered().find(({ device }) => device === this.#device);
  }

  /** vfio_device_cdev_opened. */
  get #bound(): BoundTo | undefined {
    return this.#own?.bound;
  }

  #hit(): readonly KernelDevice[] {
    if (!this.#kernel.buses.canReset(this.#device)) refuse("ENODEV");
    return this.#kernel.buses.sharing(this.#device);
  }

  /** The functions on vfio-pci that are reset with this one. */
  get #set(): readonly VfioDevice[] {
    return this.#kernel.registered().filter(({ device }) => this.#kernel.buses.isOneSet(this.#device, device));
  }

  #tellGroups(argument: IoctlArgument, argsz: number, hit: readonly KernelDevice[]): void {
    const entries = hit.map((device) => {
      // Cannot reset non-isolated devices.
      const { id: group_id } = device.group ?? refuse("EPERM");
      return dependentDevice.encode({ group_id, ...placeOf(device.name) });
    });
    this.#answer(argument, argsz, 0, entries);
  }

  #tellIds(argument: IoctlArgument, argsz: number, hit: readonly KernelDevice[], own: BoundTo): void {
    const set = this.#set;
    const ids = hit.map((device) => {
      const other = set.find((candidate) => candidate.device === device);
      return other === undefined ? VFIO_PCI_DEVID.NOT_OWNED : this.#idOf(own, other.bound, other.group);
    });
    const owned = ids.includes(VFIO_PCI_DEVID.NOT_OWNED) ? 0 : DEV_ID_OWNED;
    const entries = hit.map((device, at) => {
      return dependentDeviceById.encode({ devid: ids[at] ?? VFIO_PCI_DEVID.NOT_OWNED, ...placeOf(device.name) });
    });
    this.#answer(argument, argsz, DEV_ID | owned, entries);
  }

  #answer(argument: IoctlArgument, argsz: number, flags: number, entries: readonly Uint8Array[]): void {
    for (const [index, entry] of entries.entries()) {
      copyOut(argument, entry, hotResetInfo.size + index * dependentDevice.size);
    }
    copyOut(argument, hotResetInfo.encode({ argsz, flags, count: entries.length }));
  }

  /** vfio_iommufd_get_dev_id: a device that is not bound is the iommufd's if another of its group is. */
  #idOf({ context }: BoundTo, other: BoundTo | undefined, group: VfioGroup): number {
    if (other?.context === context) return other.id;
    const shares = (each: VfioDevice) => each.group === group && each.bound?.context === context;
    const owned = other === undefined && this.#kernel.registered().some(shares);
    return owned ? VFIO_PCI_DEVID.OWNED : VFIO_PCI_DEVID.NOT_OWNED;
  }

  #groups(argument: IoctlArgument, count: number, most: number): ReadonlySet<VfioGroup> {
    if (count > most) refuse("EINVAL");
    const bytes = userBytes(argument);
    if (bytes.length < hotReset.size + 4 * count) refuse("EFAULT");
    const view = new DataView(bytes.buffer, bytes.byteOffset + hotReset.size, 4 * count);
    const groups = new Set<VfioGroup>();
    for (let at = 0; at < count; at++) {
      const file = this.#kernel.process.fds.get(view.getInt32(4 * at, true));
      groups.add(file instanceof GroupFile ? file.group : refuse("EINVAL"));
    }
    return groups;
  }

  /** vfio_pci_dev_set_resettable, and what vfio_pci_dev_set_hot_reset asks of each. */
  #requireOwned(hit: readonly KernelDevice[], isOwned: (device: VfioDevice) => boolean): void {
    const set = this.#set;
    if (!hit.every((device) => set.some((each) => each.device === device))) refuse("EINVAL");
    if (!set.every(isOwned)) refuse("EINVAL");
  }
}

function placeOf(name: string): { readonly segment: number; readonly bus: number; readonly devfn: number } {
  const [segment = 0, bus = 0, slot = 0, fn = 0] = name.split(/[:.]/).map((digits) => Number.parseInt(digits, 16));
  return { segment, bus, devfn: (slot << 3) | fn };
}
