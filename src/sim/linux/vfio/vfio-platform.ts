import { deviceInfo, VFIO_DEVICE_FLAGS, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET } from "../../../abi/vfio-device.js";
import { irqInfo, VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS, VFIO_IRQ_INFO } from "../../../abi/vfio-irq.js";
import { regionInfo, VFIO_DEVICE_GET_REGION_INFO, VFIO_REGION_INFO_FLAG } from "../../../abi/vfio-region.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { PlatformDescription } from "../description.js";
import type { Frame, KernelDevice } from "../drivers/device.js";
import type { FileMapping, OpenFile } from "../files/open-file.js";
import { copyOut, readStruct } from "../files/user-argument.js";
import type { KernelLog } from "../kernel-log.js";
import type { Backing } from "../mm/address-space.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import { PlatformInterrupts } from "./platform-interrupts.js";
import { accesses, mapFrame, REGION_SHIFT, splitOffset } from "./region-file.js";
import { readIrqRequest } from "./set-irqs.js";
import type { DeviceOperations } from "./vfio-device.js";

const { READ, WRITE, MMAP } = VFIO_REGION_INFO_FLAG;

/** The kernel around it. */
export interface VfioPlatformKernel {
  readonly process: Process;
  readonly log: KernelLog;
  readonly pageSize: number;
}

/** A platform device as vfio-platform hands it out (drivers/vfio/platform/vfio_platform_common.c). */
export class VfioPlatform implements DeviceOperations {
  readonly #device: KernelDevice;
  readonly #canReset: boolean;
  readonly #kernel: VfioPlatformKernel;
  readonly #interrupts: PlatformInterrupts;

  constructor(device: KernelDevice, description: PlatformDescription, kernel: VfioPlatformKernel) {
    this.#device = device;
    this.#canReset = description.resetHandler ?? false;
    this.#kernel = kernel;
    this.#interrupts = new PlatformInterrupts(device, kernel.process, description.interrupts ?? []);
  }

  open(): void {
    this.#tryReset();
    this.#device.sink = this.#interrupts;
  }

  close(): void {
    this.#interrupts.disable();
    this.#device.sink = undefined;
    this.#tryReset();
  }

  ioctl(request: number, argument: IoctlArgument): number {
    switch (request) {
      case VFIO_DEVICE_GET_INFO.request:
        return this.#getInfo(argument);
      case VFIO_DEVICE_GET_REGION_INFO.request:
        return this.#getRegionInfo(argument);
      case VFIO_DEVICE_GET_IRQ_INFO.request:
        return this.#getIrqInfo(argument);
      case VFIO_DEVICE_SET_IRQS.request:
        return this.#setIrqs(argument);
      case VFIO_DEVICE_RESET.request:
        return this.#tryReset() ? 0 : refuse("EINVAL");
      default:
        return refuse("ENOTTY");
    }
  }

  pread(into: Uint8Array, offset: bigint): number {
    const { index, at } = splitOffset(offset);
    const { frame, length } = this.#frameAt(index, at, into.length);
    for (const { at: from, width } of accesses(at, length, 4)) {
      this.#device.readRegisters(frame, from, into.subarray(from - at, from - at + width));
    }
    return length;
  }

  pwrite(from: Uint8Array, offset: bigint): number {
    const { index, at } = splitOffset(offset);
    const { frame, length } = this.#frameAt(index, at, from.length);
    if (frame.readOnly) refuse("EINVAL");
    for (const { at: to, width } of accesses(at, length, 4)) {
      this.#device.writeRegisters(frame, to, from.subarray(to - at, to - at + width));
    }
    return length;
  }

  mmap(mapping: FileMapping, file: OpenFile): Backing {
    const frame = this.#device.frames[splitOffset(mapping.offset).index];
    if (frame === undefined || !this.#isMappable(frame)) refuse("EINVAL");
    return mapFrame(this.#device, frame, mapping, { file, isEnabled: () => true });
  }

  #getInfo(argument: IoctlArgument): number {
    const least = deviceInfo.endOf("num_irqs");
    const { argsz } = readStruct(deviceInfo, argument, least);
    if (argsz < least) refuse("EINVAL");
    const info = deviceInfo.encode({
      argsz,
      flags: VFIO_DEVICE_FLAGS.PLATFORM | (this.#canReset ? VFIO_DEVICE_FLAGS.RESET : 0),
      num_regions: this.#device.frames.length,
      num_irqs: this.#interrupts.triggers.length,
    });
    copyOut(argument, info.subarray(0, least));
    return 0;
  }

  #getRegionInfo(argument: IoctlArgument): number {
    const { argsz, index } = readStruct(regionInfo, argument);
    const frame = this.#device.frames[index];
    if (argsz < regionInfo.size || frame === undefined) refuse("EINVAL");
    const flags = READ | (frame.readOnly ? 0 : WRITE) | (this.#isMappable(frame) ? MMAP : 0);
    const offset = BigInt(index) << REGION_SHIFT;
    copyOut(argument, regionInfo.encode({ argsz, index, offset, size: frame.size, flags }));
    return 0;
  }

  #getIrqInfo(argument: IoctlArgument): number {
    const { argsz, index } = readStruct(irqInfo, argument);
    const trigger = this.#interrupts.triggers[index];
    if (argsz < irqInfo.size || trigger === undefined) refuse("EINVAL");
    const { EVENTFD, MASKABLE, AUTOMASKED } = VFIO_IRQ_INFO;
    const flags = EVENTFD | (trigger === "level" ? MASKABLE | AUTOMASKED : 0);
    copyOut(argument, irqInfo.encode({ argsz, flags, index, count: 1 }));
    return 0;
  }

  /** Unlike vfio-pci, it lets the shared checks compare start and count with the number of indexes. */
  #setIrqs(argument: IoctlArgument): number {
    const { length } = this.#interrupts.triggers;
    this.#interrupts.set(readIrqRequest(argument, (index) => (index < length ? length : undefined)));
    return 0;
  }

  #tryReset(): boolean {
    if (this.#canReset) this.#device.reset();
    else this.#kernel.log.device("vfio-platform", this.#device.name, "no reset function found!");
    return this.#canReset;
  }

  #isMappable({ physicalAddress, size }: Frame): boolean {
    const { pageSize } = this.#kernel;
    return physicalAddress % pageSize === 0 && size % pageSize === 0;
  }

  /** vfio_platform_read, vfio_platform_write. */
  #frameAt(index: number, at: number, length: number): { readonly frame: Frame; readonly length: number } {
    const frame = this.#device.frames[index];
    if (frame === undefined || at >= frame.size) refuse("EINVAL");
    return { frame, length: Math.min(length, frame.size - at) };
  }
}
