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
}

/** What an open device rests on: its group's container, or an iommufd. */
export interface Foundation {
  use(): void;
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
  /** Open descriptors of its character device, bound or not. */
  registered = 0;
  #files = 0;
  #foundation: Foundation | undefined;

  constructor(id: number, device: KernelDevice, group: VfioGroup, operations: DeviceOperations, sysfsPath: string) {
    this.id = id;
    this.device = device;
    this.group = group;
    this.operations = operations;
    this.sysfsPath = sysfsPath;
  }

  get isOpen(): boolean {
    return this.#files > 0;
  }

  /** Whether its driver has to stay. */
  get isHeld(): boolean {
    return this.isOpen || this.registered > 0;
  }

  /** Through its group, any number of times. The first descriptor keeps the group's file and its place in the container. */
  open(): void {
    if (this.#files === 0) this.#firstOpen(this.group);
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
  }

  /** Lines of `/proc/PID/fdinfo/N`. */
  fdinfo({ fdinfoNamesDevice }: Profile): string {
    return fdinfoNamesDevice ? `vfio-device-syspath: ${this.sysfsPath}\n` : "";
  }

  #firstOpen(foundation: Foundation): void {
    foundation.use();
    try {
      this.operations.open();
    } catch (error) {
      foundation.unuse();
      throw error;
    }
    this.#foundation = foundation;
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
      readBind(argument);
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
