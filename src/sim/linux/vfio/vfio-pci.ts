import { VFIO_DEVICE_FLAGS, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET } from "../../../abi/vfio-device.js";
import { VFIO_DEVICE_FEATURE } from "../../../abi/vfio-feature.js";
import { VFIO_DEVICE_IOEVENTFD } from "../../../abi/vfio-ioeventfd.js";
import {
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_SET_IRQS,
  VFIO_IRQ_INFO,
  VFIO_PCI_IRQ_INDEX,
  VFIO_PCI_NUM_IRQS,
} from "../../../abi/vfio-irq.js";
import { VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VFIO_DEVICE_PCI_HOT_RESET } from "../../../abi/vfio-pci-reset.js";
import {
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_PCI_NUM_REGIONS,
  VFIO_PCI_REGION_INDEX,
  VFIO_REGION_INFO_FLAG,
} from "../../../abi/vfio-region.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { PciConfig } from "../../hw/pci-config.js";
import type { Frame, KernelDevice } from "../drivers/device.js";
import type { FileMapping, OpenFile } from "../files/open-file.js";
import type { Backing } from "../mm/address-space.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { type DeviceFacts, tellDevice, tellIrq, tellRegion } from "./device-info.js";
import { PciInterrupts } from "./pci-interrupts.js";
import { accesses, type FramePart, isMappable, mapFrame, splitOffset, within } from "./region-file.js";
import { readIrqRequest } from "./set-irqs.js";
import type { DeviceOperations } from "./vfio-device.js";

const { READ, WRITE, MMAP } = VFIO_REGION_INFO_FLAG;
const { CONFIG, ROM, VGA } = VFIO_PCI_REGION_INDEX;

/** The kernel around it. */
export interface VfioPciKernel {
  readonly process: Process;
  readonly profile: Profile;
  readonly pageSize: number;
}

/** A PCI function as vfio-pci hands it out (drivers/vfio/pci/vfio_pci_core.c). */
export class VfioPci implements DeviceOperations {
  readonly #device: KernelDevice;
  readonly #config: PciConfig;
  readonly #kernel: VfioPciKernel;
  readonly #interrupts: PciInterrupts;

  constructor(device: KernelDevice, config: PciConfig, kernel: VfioPciKernel) {
    this.#device = device;
    this.#config = config;
    this.#kernel = kernel;
    this.#interrupts = new PciInterrupts(device, kernel.process);
  }

  /** vfio_pci_core_enable: powered, decoding memory, not mastering the bus, as after a reset. */
  open(): void {
    this.#config.busMaster = false;
    this.#config.memoryEnabled = true;
    if (this.#canReset) this.#device.reset();
    this.#device.sink = this.#interrupts;
  }

  /** vfio_pci_core_disable. */
  close(): void {
    this.#interrupts.disable();
    this.#device.sink = undefined;
    this.#config.busMaster = false;
    if (this.#canReset) this.#device.reset();
  }

  ioctl(request: number, argument: IoctlArgument): number {
    switch (request) {
      case VFIO_DEVICE_GET_INFO.request:
        return tellDevice(argument, this.#facts, "cap_offset");
      case VFIO_DEVICE_GET_REGION_INFO.request:
        return tellRegion(argument, (index) => this.#describeRegion(index));
      case VFIO_DEVICE_GET_IRQ_INFO.request:
        return tellIrq(argument, (index) => this.#describeIrq(index));
      case VFIO_DEVICE_SET_IRQS.request:
        this.#interrupts.set(readIrqRequest(argument, (index) => this.#interrupts.count(index)));
        return 0;
      case VFIO_DEVICE_RESET.request:
        return this.#reset();
      case VFIO_DEVICE_FEATURE.request:
      case VFIO_DEVICE_IOEVENTFD.request:
      case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.request:
      case VFIO_DEVICE_PCI_HOT_RESET.request:
        return refuse("ENOSYS", "not simulated");
      default:
        return refuse("ENOTTY");
    }
  }

  pread(into: Uint8Array, offset: bigint): number {
    const { index, at } = splitOffset(offset);
    if (index === CONFIG) {
      this.#checkConfig(at, into.length);
      this.#config.read(at, into);
      return into.length;
    }
    const { frame, length } = this.#enabledFrame(index, at, into.length);
    for (const { at: from, width } of accesses(at, length, this.#kernel.profile.wideRegisterAccess ? 8 : 4)) {
      this.#device.readRegisters(frame, from, into.subarray(from - at, from - at + width));
    }
    return length;
  }

  pwrite(from: Uint8Array, offset: bigint): number {
    const { index, at } = splitOffset(offset);
    if (index === CONFIG) {
      this.#checkConfig(at, from.length);
      this.#config.write(at, from);
      return from.length;
    }
    if (index === ROM) refuse("EINVAL");
    const { frame, length } = this.#enabledFrame(index, at, from.length);
    for (const { at: to, width } of accesses(at, length, this.#kernel.profile.wideRegisterAccess ? 8 : 4)) {
      this.#device.writeRegisters(frame, to, from.subarray(to - at, to - at + width));
    }
    return length;
  }

  mmap(mapping: FileMapping, file: OpenFile): Backing {
    const { index } = splitOffset(mapping.offset);
    const frame = this.#frame(index);
    if (frame === undefined || !isMappable(frame, this.#kernel.pageSize)) refuse("EINVAL");
    return mapFrame(this.#device, frame, mapping, { file, isEnabled: () => this.#config.memoryEnabled });
  }

  get #facts(): DeviceFacts {
    return {
      flags: VFIO_DEVICE_FLAGS.PCI | (this.#canReset ? VFIO_DEVICE_FLAGS.RESET : 0),
      num_regions: VFIO_PCI_NUM_REGIONS,
      num_irqs: VFIO_PCI_NUM_IRQS,
    };
  }

  #describeRegion(index: number): { readonly size: number; readonly flags: number } | undefined {
    if (index >= VFIO_PCI_NUM_REGIONS || index === VGA) return undefined;
    if (index === CONFIG) return { size: this.#config.size, flags: READ | WRITE };
    const frame = this.#frame(index);
    if (frame === undefined) return { size: 0, flags: 0 };
    return { size: frame.size, flags: READ | WRITE | (isMappable(frame, this.#kernel.pageSize) ? MMAP : 0) };
  }

  #describeIrq(index: number): { readonly flags: number; readonly count: number } | undefined {
    const count = this.#interrupts.count(index);
    if (count === undefined || index === VFIO_PCI_IRQ_INDEX.ERR) return undefined;
    const { EVENTFD, MASKABLE, AUTOMASKED, NORESIZE } = VFIO_IRQ_INFO;
    const rest = index === VFIO_PCI_IRQ_INDEX.INTX ? MASKABLE | AUTOMASKED : NORESIZE;
    return { flags: EVENTFD | rest, count };
  }

  #reset(): number {
    if (!this.#canReset) refuse("EINVAL");
    this.#device.reset();
    return 0;
  }

  get #canReset(): boolean {
    const { description } = this.#device;
    return description.bus === "pci" && (description.reset ?? true);
  }

  #frame(index: number): Frame | undefined {
    return this.#device.frames.find((frame) => frame.index === index);
  }

  /** vfio_config_do_rw. */
  #checkConfig(at: number, length: number): void {
    if (at + length > this.#config.size) refuse("EFAULT");
  }

  /** vfio_pci_bar_rw. */
  #enabledFrame(index: number, at: number, length: number): FramePart {
    const part = within(this.#frame(index), at, length);
    if (!this.#config.memoryEnabled) refuse("EIO");
    return part;
  }
}
