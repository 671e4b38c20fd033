import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { KernelDevice } from "../drivers/device.js";
import { type FileMapping, OpenFile } from "../files/open-file.js";
import type { Backing } from "../mm/address-space.js";
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

/** A device on a VFIO driver. */
export class VfioDevice {
  /** N of `vfioN`. */
  readonly id: number;
  readonly device: KernelDevice;
  readonly group: VfioGroup;
  readonly operations: DeviceOperations;
  /** Where sysfs has the device. */
  readonly sysfsPath: string;
  #files = 0;

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

  /** The first descriptor keeps the group's file and its place in the container. */
  open(): void {
    if (this.#files === 0) {
      this.group.use();
      try {
        this.operations.open();
      } catch (error) {
        this.group.unuse();
        throw error;
      }
    }
    this.#files += 1;
  }

  close(): void {
    this.#files -= 1;
    if (this.#files > 0) return;
    this.operations.close();
    this.group.unuse();
  }
}

/** What VFIO_GROUP_GET_DEVICE_FD gives. */
export class DeviceFile extends OpenFile {
  readonly path = "anon_inode:[vfio-device]";
  readonly #device: VfioDevice;
  readonly #named: boolean;

  /** @param named whether fdinfo says which device it is */
  constructor(device: VfioDevice, named: boolean) {
    super();
    this.#device = device;
    this.#named = named;
  }

  protected release(): void {
    this.#device.close();
  }

  override ioctl(request: number, argument: IoctlArgument): number {
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
    return this.#named ? `vfio-device-syspath: ${this.#device.sysfsPath}\n` : "";
  }
}
