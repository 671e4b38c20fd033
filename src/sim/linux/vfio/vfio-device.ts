import { VFIO_DEVICE_BIND_IOMMUFD } from "../../../abi/vfio-cdev.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { KernelDevice } from "../drivers/device.js";
import { type FileMapping, OpenFile } from "../files/open-file.js";
import type { Backing } from "../mm/address-space.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { readBind } from "./bind-request.js";
import type { VfioGroup } from "./vfio-group.js";

/** What vfio-pci and vfio-platform do with a device that a program has open (`struct vfio_device_ops`). */
export interface DeviceOperations {
  /** The first descriptor is made. */
  open(): void;
  /** The last one is gone. */
  close(): void;
  ioctl(request: number, argument: IoctlArgument): number;
  pread(into: Uint8Array, offset: bigint): number;
  pwrite(from: Uint8Array, offset: bigint): number;
  /** @param file what keeps the device open while it is mapped */
  mmap(mapping: FileMapping, file: OpenFile): Backing;
  /** Refuses who names a wrong token, or one where none is due; absent where the driver knows no tokens. */
  matchToken?(uuid: string | undefined): void;
  /** A reset begins, and takes the registers from whoever was given them, or has ended; absent where nobody can be. */
  moveRegisters?(revoked: boolean): void;
  /** The kernel wants the device back; absent where the driver tells nobody. */
  request?(): void;
}

/** What a device is bound to through its character device. */
export interface BoundTo {
  readonly context: object;
  /** The iommufd's number for it. */
  readonly id: number;
}

/** What an open device rests on: its group's container, or an iommufd. */
export interface Foundation {
  use(): void;
  /** The driver has opened the device; a refusal closes it again. */
  opened?(): void;
  unuse(): void;
}

/** A device on a VFIO driver. */
export class VfioDevice {
  /** N of `vfioN`. */
  readonly id: number;
  readonly device: KernelDevice;
  readonly group: VfioGroup;
  readonly operations: DeviceOperations;
  /** Where sysfs has the device. */
  readonly sysfsPath: string;
  /** While it is bound through its character device. */
  bound: BoundTo | undefined;
  /** Open descriptors of its character device, bound or not. */
  #registered = 0;
  readonly #namesNoiommu: boolean;
  /** Resolves when nobody has the device open any more. */
  #leaving: Promise<void> | undefined;
  #onRelease: () => void = () => {};
  #files = 0;
  #foundation: Foundation | undefined;

  constructor(
    id: number,
    device: KernelDevice,
    group: VfioGroup,
    operations: DeviceOperations,
    { sysfsPath, namesNoiommu }: { readonly sysfsPath: string; readonly namesNoiommu: boolean },
  ) {
    this.id = id;
    this.#namesNoiommu = namesNoiommu;
    this.device = device;
    this.group = group;
    this.operations = operations;
    this.sysfsPath = sysfsPath;
  }

  /** What sysfs and `/dev/vfio/devices` call it (vfio_device_set_noiommu_and_name). */
  get nodeName(): string {
    return `${this.group.isNoiommu && this.#namesNoiommu ? "noiommu-" : ""}vfio${this.id}`;
  }

  get isOpen(): boolean {
    return this.#files > 0;
  }

  /** Whether its driver has to stay. */
  get isHeld(): boolean {
    return this.isOpen || this.#registered > 0;
  }

  /** It is being taken from its driver: nobody finds it any more, and who has it open is asked to let go. */
  get isLeaving(): boolean {
    return this.#leaving !== undefined;
  }

  /** A descriptor of its character device was made. */
  register(): void {
    this.#registered += 1;
  }

  unregister(): void {
    this.#registered -= 1;
    this.#released();
  }

  /**
   * vfio_unregister_group_dev up to where it goes on: nobody has the device open any more. Linux asks again every ten seconds;
   * here once, since time would not stand still, and ten seconds after somebody begins to listen.
   */
  leave(): Promise<void> {
    this.#leaving ??= new Promise((resolve) => {
      this.#onRelease = resolve;
      if (this.isHeld) this.operations.request?.();
      else resolve();
    });
    return this.#leaving;
  }

  /** Through its group, any number of times; the first descriptor needs a foundation. */
  open(foundation: Foundation): void {
    if (this.#files === 0) this.#firstOpen(foundation);
    this.#files += 1;
  }

  /** Through its character device, once at a time. */
  openBound(foundation: Foundation): void {
    if (this.isOpen) refuse("EINVAL");
    this.#firstOpen(foundation);
    this.#files = 1;
  }

  close(): void {
    this.#files -= 1;
    if (this.#files > 0) return;
    this.operations.close();
    this.#foundation?.unuse();
    this.#foundation = undefined;
    this.#released();
  }

  #released(): void {
    if (!this.isHeld) this.#onRelease();
  }

  /** Lines of `/proc/PID/fdinfo/N`. */
  fdinfo({ fdinfoNamesDevice }: Profile): string {
    return fdinfoNamesDevice ? `vfio-device-syspath: ${this.sysfsPath}\n` : "";
  }

  #firstOpen(foundation: Foundation): void {
    foundation.use();
    this.#foundation = foundation;
    try {
      this.operations.open();
      this.#attach(foundation);
    } catch (error) {
      foundation.unuse();
      this.#foundation = undefined;
      throw error;
    }
  }

  #attach(foundation: Foundation): void {
    try {
      foundation.opened?.();
    } catch (error) {
      this.operations.close();
      throw error;
    }
  }
}

/** What VFIO_GROUP_GET_DEVICE_FD gives. */
export class DeviceFile extends OpenFile {
  readonly path = "anon_inode:[vfio-device]";
  readonly #device: VfioDevice;
  readonly #profile: Profile;
  readonly #hasCdev: boolean;

  /** @param hasCdev whether the kernel has character devices, too */
  constructor(device: VfioDevice, profile: Profile, hasCdev: boolean) {
    super();
    this.#device = device;
    this.#profile = profile;
    this.#hasCdev = hasCdev;
  }

  protected release(): void {
    this.#device.close();
  }

  override ioctl(request: number, argument: IoctlArgument): number {
    if (request === VFIO_DEVICE_BIND_IOMMUFD.request && this.#hasCdev) {
      readBind(argument, this.#profile);
      return refuse("EINVAL");
    }
    return this.#device.operations.ioctl(request, argument);
  }

  override pread(into: Uint8Array, offset: bigint): number {
    return this.#device.operations.pread(into, offset);
  }

  override pwrite(from: Uint8Array, offset: bigint): number {
    return this.#device.operations.pwrite(from, offset);
  }

  override mmap(mapping: FileMapping): Backing {
    return this.#device.operations.mmap(mapping, this);
  }

  override fdinfo(): string {
    return this.#device.fdinfo(this.#profile);
  }
}
