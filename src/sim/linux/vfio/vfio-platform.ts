import { VFIO_DEVICE_FLAGS, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET } from "../../../abi/vfio-device.js";
import { VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS, VFIO_IRQ_INFO } from "../../../abi/vfio-irq.js";
import { VFIO_DEVICE_GET_REGION_INFO, VFIO_REGION_INFO_FLAG } from "../../../abi/vfio-region.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { PlatformDescription } from "../description.js";
import type { KernelDevice } from "../drivers/device.js";
import type { FileMapping, OpenFile } from "../files/open-file.js";
import type { KernelLog } from "../kernel-log.js";
import type { Backing } from "../mm/address-space.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import { type DeviceFacts, tellDevice, tellIrq, tellRegion } from "./device-info.js";
import { PlatformInterrupts } from "./platform-interrupts.js";
import { accesses, isMappable, mapFrame, splitOffset, within } from "./region-file.js";
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
        return tellDevice(argument, this.#facts, "num_irqs");
      case VFIO_DEVICE_GET_REGION_INFO.request:
        return tellRegion(argument, (index) => this.#describeRegion(index));
      case VFIO_DEVICE_GET_IRQ_INFO.request:
        return tellIrq(argument, (index) => this.#describeIrq(index));
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
    const { frame, length } = within(this.#device.frames[index], at, into.length);
    for (const { at: from, width } of accesses(at, length, 4)) {
      this.#device.readRegisters(frame, from, into.subarray(from - at, from - at + width));
    }
    return length;
  }

  pwrite(from: Uint8Array, offset: bigint): number {
    const { index, at } = splitOffset(offset);
    const { frame, length } = within(this.#device.frames[index], at, from.length);
    if (frame.readOnly) refuse("EINVAL");
    for (const { at: to, width } of accesses(at, length, 4)) {
      this.#device.writeRegisters(frame, to, from.subarray(to - at, to - at + width));
    }
    return length;
  }

  mmap(mapping: FileMapping, file: OpenFile): Backing {
    const frame = this.#device.frames[splitOffset(mapping.offset).index];
    if (frame === undefined || !isMappable(frame, this.#kernel.pageSize)) refuse("EINVAL");
    return mapFrame(this.#device, frame, mapping, { file, isEnabled: () => true });
  }

  get #facts(): DeviceFacts {
    return {
      flags: VFIO_DEVICE_FLAGS.PLATFORM | (this.#canReset ? VFIO_DEVICE_FLAGS.RESET : 0),
      num_regions: this.#device.frames.length,
      num_irqs: this.#interrupts.triggers.length,
    };
  }

  #describeRegion(index: number): { readonly size: number; readonly flags: number } | undefined {
    const frame = this.#device.frames[index];
    if (frame === undefined) return undefined;
    const mappable = isMappable(frame, this.#kernel.pageSize) ? MMAP : 0;
    return { size: frame.size, flags: READ | (frame.readOnly ? 0 : WRITE) | mappable };
  }

  #describeIrq(index: number): { readonly flags: number; readonly count: number } | undefined {
    const trigger = this.#interrupts.triggers[index];
    if (trigger === undefined) return undefined;
    const { EVENTFD, MASKABLE, AUTOMASKED } = VFIO_IRQ_INFO;
    return { flags: EVENTFD | (trigger === "level" ? MASKABLE | AUTOMASKED : 0), count: 1 };
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
}
