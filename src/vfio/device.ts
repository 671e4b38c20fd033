import type { Decoded } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import { deviceInfo, VFIO_DEVICE_FLAGS, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET } from "../abi/vfio-device.js";
import { VFIO_PCI_REGION_INDEX } from "../abi/vfio-region.js";
import { IospanError, malformedAnswer } from "../errors.js";
import type { BusType } from "../machine/machine.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { failuresOf, withFailures } from "./failures.js";
import type { Interrupt, InterruptOptions } from "./interrupt.js";
import { type InterruptInfo, type InterruptKind, Interrupts } from "./interrupts.js";
import { PciConfig } from "./pci-config.js";
import { refusal } from "./refusal.js";
import { Region, type RegionInfo } from "./region.js";
import { readRegionInfo } from "./region-info.js";

/** What a device is to be known by. */
export interface DeviceIdentity {
  /** The kernel's name. */
  readonly name: string;
  readonly bus: BusType;
  /** The IOMMU in front of it. */
  readonly iommu: string;
}

/** What gives out devices' descriptors: an open group, or a device's own node. */
export interface DeviceSource {
  /**
   * A descriptor of the device, which the caller closes from then on.
   * @param name the kernel's name of the device.
   */
  deviceFd(name: string): Promise<Fd>;
  /** The descriptor it gave out has been closed. */
  deviceClosed?(): void;
}

const PCI_REGION_NAMES = new Map<number, string>(
  Object.entries(VFIO_PCI_REGION_INDEX).map(([name, index]) => [index, name.toLowerCase()]),
);

/**
 * An open device: its registers, interrupts and reset. The devices of a space are opened and closed by the space: do not
 * close them, nor declare them with `using`.
 */
export class Device implements DeviceIdentity, AsyncDisposable {
  readonly name: string;
  readonly bus: BusType;
  readonly iommu: string;
  /** Whether {@link reset} can work. */
  readonly resettable: boolean;
  /** A PCI device's configuration space; undefined on other buses. */
  readonly pciConfig: PciConfig | undefined;
  readonly #syscalls: Syscalls;
  readonly #regions: readonly Region[];
  readonly #interrupts: Interrupts;
  readonly #source: DeviceSource;
  #fd: Fd | undefined;
  #owned = false;

  private constructor(syscalls: Syscalls, source: DeviceSource, fd: Fd, identity: DeviceIdentity) {
    const info = readDeviceInfo(syscalls, fd);
    this.#syscalls = syscalls;
    this.#source = source;
    this.#fd = fd;
    this.name = identity.name;
    this.bus = identity.bus;
    this.iommu = identity.iommu;
    this.resettable = (info.flags & VFIO_DEVICE_FLAGS.RESET) !== 0;
    this.#regions = readRegions(syscalls, fd, identity, info.num_regions);
    this.#interrupts = new Interrupts(syscalls, identity.name, identity.bus, fd, info.num_irqs, identity.iommu);
    this.pciConfig = identity.bus === "pci" ? new PciConfig(this.region("config")) : undefined;
  }

  /** Opens a device of an open group that is in a container, or one that is bound to an iommufd. The kernel resets it where it can. */
  static async open(syscalls: Syscalls, source: DeviceSource, identity: DeviceIdentity): Promise<Device> {
    const fd = await source.deviceFd(identity.name);
    try {
      return new Device(syscalls, source, fd, identity);
    } catch (error) {
      const failures = failuresOf(
        () => syscalls.close(fd),
        () => source.deviceClosed?.(),
      );
      throw withFailures(tellsNothing(error, identity), failures);
    }
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** The regions it has. */
  get regions(): readonly RegionInfo[] {
    return this.#regions;
  }

  /** The interrupts it has. */
  get interrupts(): readonly InterruptInfo[] {
    return this.#interrupts.available;
  }

  /**
   * @param nameOrIndex `"bar0"` to `"bar5"`, `"rom"`, `"config"` on PCI; elsewhere the index, from 0.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` when the device has no such region.
   */
  region(nameOrIndex: string | number): Region {
    const found = this.#regions.find(({ name, index }) => name === nameOrIndex || index === nameOrIndex);
    if (found !== undefined) return found;
    throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `${this.name} has no region ${nameOrIndex}`, {
      device: this.name,
      iommu: this.iommu,
      hint: `it has: ${this.#regions.map(({ name }) => name).join(", ") || "none"}`,
    });
  }

  /** Arms an interrupt and gives the loop over it; see {@link Interrupt}. */
  interrupt(kind: InterruptKind, vector = 0, options: InterruptOptions = {}): Interrupt {
    this.#openFd();
    return this.#interrupts.listen(kind, vector, options);
  }

  /**
   * Resets the device (for PCI by the best method the function has). Off the event loop: it may take 100 ms and more.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` when it cannot be reset.
   */
  async reset(): Promise<void> {
    const fd = this.#openFd();
    if (!this.resettable) {
      throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `${this.name} cannot be reset`, {
        device: this.name,
        iommu: this.iommu,
        hint: "the kernel knows no reset for it: use a register of the device, if it has one",
      });
    }
    try {
      await this.#syscalls.ioctlAsync(fd, VFIO_DEVICE_RESET, 0);
    } catch (error) {
      throw refusal(
        error,
        { device: this.name, iommu: this.iommu },
        {
          code: "ERR_IOSPAN_RESET_REFUSED",
          message: `${this.name} was not reset`,
          hint: "the kernel log says more: dmesg | grep -e vfio -e pci",
        },
      );
    }
  }

  /**
   * @internal The space's part.
   *
   * Takes the device's voice: no interrupts, and on PCI no bus mastering, so no DMA. A platform device has no such switch:
   * only its reset, or its own driver, stops it. Every step is taken even if one before it failed.
   * @returns what went wrong.
   */
  silence(): readonly unknown[] {
    if (this.closed) return [];
    const failures = [...this.#interrupts.closeAll()];
    try {
      this.pciConfig?.setBusMaster(false);
    } catch (error) {
      failures.push(error);
    }
    return failures;
  }

  /**
   * @internal The space's part.
   *
   * {@link silence}, then a reset where there is one.
   * @returns what went wrong.
   */
  async quiesce(): Promise<readonly unknown[]> {
    if (this.closed) return [];
    const failures = [...this.silence()];
    try {
      if (this.resettable) await this.reset();
    } catch (error) {
      failures.push(error);
    }
    return failures;
  }

  /**
   * @internal The space's part.
   *
   * Takes the registers away and closes the device, which is the moment to have it quiesced.
   * @returns what went wrong; the device is closed all the same.
   */
  release(): readonly unknown[] {
    const fd = this.#fd;
    if (fd === undefined) return [];
    this.#fd = undefined;
    const failures = this.#interrupts.closeAll();
    const regions = this.#regions.map((region) => () => region.close());
    const steps = [...regions, () => this.#syscalls.close(fd), () => this.#source.deviceClosed?.()];
    return [...failures, ...failuresOf(...steps)];
  }

  /** @internal A space has opened it, and closes it. */
  ownBySpace(): void {
    this.#owned = true;
  }

  /**
   * Quiesces and closes the device.
   * @throws IospanError `ERR_IOSPAN_BUSY` for a device of a space, which stays as it is: `space.detach()` takes it out.
   */
  async close(): Promise<void> {
    if (this.#owned && !this.closed) {
      throw new IospanError("ERR_IOSPAN_BUSY", `${this.name} belongs to a space, which closes it`, {
        device: this.name,
        iommu: this.iommu,
        hint: "space.detach() takes it out; do not declare it with `using`",
      });
    }
    const failures = [...(await this.quiesce()), ...this.release()];
    if (failures.length > 0) {
      throw new IospanError("ERR_IOSPAN_CLOSE_INCOMPLETE", `${this.name} is closed, but not everything went well`, {
        device: this.name,
        hint: "the cause lists what failed",
        cause: new AggregateError(failures),
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #openFd(): Fd {
    if (this.#fd !== undefined) return this.#fd;
    throw new IospanError("ERR_IOSPAN_RELEASED", `${this.name} is closed`, {
      device: this.name,
      iommu: this.iommu,
      hint: "open it again; in a space: detach() and attach() it",
    });
  }
}

function tellsNothing(error: unknown, { name, iommu }: DeviceIdentity): unknown {
  return refusal(
    error,
    { device: name, iommu },
    {
      code: "ERR_IOSPAN_SYSCALL",
      message: `${name} does not tell what it has`,
      hint: "the kernel log says more: dmesg | grep vfio",
    },
  );
}

function readDeviceInfo(syscalls: Syscalls, fd: Fd): Decoded<typeof deviceInfo> {
  const bytes = deviceInfo.encode();
  syscalls.ioctl(fd, VFIO_DEVICE_GET_INFO, bytes);
  return deviceInfo.decode(bytes);
}

/** More regions than any device has; the kernel would be asked about each. */
const MOST_REGIONS = 256;

function readRegions(syscalls: Syscalls, fd: Fd, identity: DeviceIdentity, count: number): readonly Region[] {
  const { name, bus } = identity;
  if (count > MOST_REGIONS) {
    throw malformedAnswer(`the kernel says that ${name} has ${count} regions`);
  }
  const regions: Region[] = [];
  for (let index = 0; index < count; index += 1) {
    const label = (bus === "pci" ? PCI_REGION_NAMES.get(index) : undefined) ?? `region${index}`;
    const read = () => readRegionInfo(syscalls, fd, index, label);
    const info = bus === "pci" && index === VFIO_PCI_REGION_INDEX.VGA ? tolerant(read) : read();
    if (info !== undefined) regions.push(new Region(syscalls, identity, fd, info));
  }
  return regions;
}

/** vfio-pci counts its VGA index always, and answers EINVAL for it on a device that is no display. */
function tolerant(read: () => RegionInfo | undefined): RegionInfo | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof SyscallError && error.errno === errno.EINVAL) return undefined;
    throw error;
  }
}
