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
import type { Clock } from "../../hw/clock.js";
import type { PciConfig } from "../../hw/pci-config.js";
import type { Frame, KernelDevice } from "../drivers/device.js";
import type { FileMapping, OpenFile } from "../files/open-file.js";
import type { KernelLog } from "../kernel-log.js";
import type { Backing } from "../mm/address-space.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { feature } from "./device-feature.js";
import { type DeviceFacts, tellDevice, tellIrq, tellRegion } from "./device-info.js";
import { DmaBufs } from "./dma-buf.js";
import type { HotReset } from "./hot-reset.js";
import { PciInterrupts } from "./pci-interrupts.js";
import { accesses, type FramePart, isMappable, mapFrame, splitOffset, within } from "./region-file.js";
import { readIrqRequest } from "./set-irqs.js";
import { matchToken, type SriovFunction } from "./vf-token.js";
import type { DeviceOperations } from "./vfio-device.js";

const { READ, WRITE, MMAP } = VFIO_REGION_INFO_FLAG;
const { CONFIG, ROM, VGA } = VFIO_PCI_REGION_INDEX;

/** The kernel around it. */
export interface VfioPciKernel {
  readonly process: Process;
  readonly profile: Profile;
  readonly pageSize: number;
  readonly log: KernelLog;
  readonly clock: Clock;
}

/** What a function on vfio-pci has to do with others. */
export interface PciRelations {
  readonly hotReset: HotReset;
  readonly sriov: SriovFunction;
}

/** A PCI function as vfio-pci hands it out (drivers/vfio/pci/vfio_pci_core.c). */
export class VfioPci implements DeviceOperations {
  readonly #device: KernelDevice;
  readonly #config: PciConfig;
  readonly #kernel: VfioPciKernel;
  readonly #interrupts: PciInterrupts;
  readonly #relations: PciRelations;
  readonly #dmaBufs: DmaBufs;
  /** It is being taken from this driver, whose task holds the device's lock: nothing resets it until that is over. */
  #askedBack = false;

  constructor(device: KernelDevice, config: PciConfig, kernel: VfioPciKernel, relations: PciRelations) {
    this.#relations = relations;
    this.#device = device;
    this.#config = config;
    this.#kernel = kernel;
    this.#interrupts = new PciInterrupts(device, kernel);
    const { process, profile, pageSize } = kernel;
    const isEnabled = () => config.memoryEnabled;
    this.#dmaBufs = new DmaBufs({ process, profile, pageSize, isEnabled, frame: (index) => this.#frame(index) });
  }

  /** vfio_pci_core_enable: powered, decoding memory, not mastering the bus, as after a reset. */
  open(): void {
    this.#config.busMaster = false;
    this.#config.memoryEnabled = true;
    if (this.#canReset) this.#device.reset();
    this.#device.sink = this.#interrupts;
    this.#countUsers(1);
  }

  /** vfio_pci_core_disable. */
  close(): void {
    this.#countUsers(-1);
    this.#dmaBufs.cleanup();
    this.#interrupts.close();
    this.#device.sink = undefined;
    this.#config.busMaster = false;
    if (this.#canReset && !this.#askedBack) this.#device.reset();
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
        return feature(argument, this.#relations.sriov, this.#dmaBufs);
      case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.request:
        return this.#relations.hotReset.tell(argument);
      case VFIO_DEVICE_PCI_HOT_RESET.request:
        return this.#relations.hotReset.reset(argument);
      case VFIO_DEVICE_IOEVENTFD.request:
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
      // vfio_basic_config_write: before memory is switched off, and after it is switched on.
      this.moveRegisters(false);
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

  matchToken(uuid: string | undefined): void {
    matchToken(this.#relations.sriov, uuid, this.#kernel.log);
  }

  moveRegisters(revoked: boolean): void {
    this.#dmaBufs.move(revoked || !this.#config.memoryEnabled);
  }

  request(): void {
    this.#askedBack = true;
    this.#interrupts.request();
  }

  /** Virtual functions in use bind their physical function's users to the token. */
  #countUsers(difference: number): void {
    const { isVirtual, token } = this.#relations.sriov;
    if (isVirtual && token !== undefined) token.users += difference;
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
    this.moveRegisters(true);
    // pci_try_reset_function: whoever takes the device from its driver holds its lock.
    if (!this.#askedBack) this.#device.reset();
    this.moveRegisters(false);
    return this.#askedBack ? refuse("EAGAIN") : 0;
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
