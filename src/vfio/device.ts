import { errno } from "../abi/errno.js";
import { VFIO_DEVICE_FLAGS } from "../abi/vfio-device.js";
import { IospanError } from "../errors.js";
import type { BusType } from "../machine/machine.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { CallsUnderWay } from "./calls-under-way.js";
import { readDeviceInfo, readRegions, tellsNothing } from "./device-description.js";
import { failuresOf, withFailures } from "./failures.js";
import { hotResetImpossible, resetSlotOrBus, withoutDma } from "./hot-reset.js";
import { type HotResetScope, noHotReset, readHotResetScope } from "./hot-reset-scope.js";
import type { Interrupt, InterruptOptions } from "./interrupt.js";
import { type InterruptInfo, type InterruptKind, Interrupts } from "./interrupts.js";
import { openDevices } from "./open-devices.js";
import { PciConfig } from "./pci-config.js";
import type { Region, RegionInfo } from "./region.js";
import { deviceRemoved, RemovalWatch } from "./removal-watch.js";
import { notResettable, resetDevice } from "./reset.js";
import { checkTakesToken, setVfToken } from "./vf-token.js";

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
   * @param vfToken a UUID, for functions of SR-IOV that ask for one; a node has been given it before.
   */
  deviceFd(name: string, vfToken?: string): Promise<Fd>;
  /** The descriptor it gave out has been closed. */
  deviceClosed?(): void;
  /** Resolves when no call uses a descriptor of its own any more. */
  callsEnded?(): Promise<void>;
}

/**
 * An open device: its registers, interrupts and reset. The devices of a space are opened and closed by the space: do not
 * close them, nor declare them with `using`.
 */
export class Device implements DeviceIdentity, AsyncDisposable {
  readonly name: string;
  readonly bus: BusType;
  readonly iommu: string;
  /**
   * Aborted when the kernel asks for the device back, because it is unplugged or unbound from its driver; the reason is an
   * IospanError `ERR_IOSPAN_DEVICE_REMOVED`. A space listens for that and then takes the device out, see `onRemoval` of its
   * `open()`; vfio-pci alone asks, so it is never aborted for a platform device, nor for one that was opened without a space.
   */
  readonly removal: AbortSignal;
  /** Whether {@link reset} can work. */
  readonly resettable: boolean;
  /** A PCI device's configuration space; undefined on other buses. */
  readonly pciConfig: PciConfig | undefined;
  readonly #syscalls: Syscalls;
  readonly #regions: readonly Region[];
  readonly #interrupts: Interrupts;
  readonly #source: DeviceSource;
  readonly #removing = new AbortController();
  readonly #calls = new CallsUnderWay();
  #fd: Fd | undefined;
  #owned = false;
  #silent = false;
  #watch: RemovalWatch | undefined;

  private constructor(syscalls: Syscalls, source: DeviceSource, fd: Fd, identity: DeviceIdentity) {
    const info = readDeviceInfo(syscalls, fd);
    this.removal = this.#removing.signal;
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

  /**
   * Opens a device of an open group that is in a container, or one that is bound to an iommufd. The kernel resets it where it can.
   * @param vfToken a UUID, for functions of SR-IOV that ask for one.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a token with a device that is not PCI's.
   */
  static async open(
    syscalls: Syscalls,
    source: DeviceSource,
    identity: DeviceIdentity,
    vfToken?: string,
  ): Promise<Device> {
    if (vfToken !== undefined) checkTakesToken(identity);
    const fd = await source.deviceFd(identity.name, vfToken);
    try {
      const device = new Device(syscalls, source, fd, identity);
      openDevices.of(syscalls).add(device);
      return device;
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
    if (this.closed && this.removal.aborted) throw this.removal.reason;
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
   * Resets the device (for PCI by the best method the function has). Off the event loop: it may take 100 ms and more. Closing the
   * device waits for it.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` when it cannot be reset, `ERR_IOSPAN_RELEASED` when it is closed or being closed,
   * `ERR_IOSPAN_RESET_REFUSED`.
   */
  async reset(): Promise<void> {
    this.#checkNotClosing();
    if (!this.resettable) throw notResettable({ device: this.name, iommu: this.iommu });
    await this.#reset();
  }

  async #reset(): Promise<void> {
    const fd = this.#openFd();
    try {
      await this.#calls.run(() => resetDevice(this.#syscalls, fd, { device: this.name, iommu: this.iommu }));
    } finally {
      this.#registersRevoked();
    }
  }

  /** Also a reset that fails takes registers from iommufds before (vfio_pci_core.c, vfio_pci_dma_buf_move). */
  #registersRevoked(): void {
    for (const { users } of this.#regions) users.revokeAll();
  }

  /**
   * What {@link hotReset} would hit, and whether the kernel lets it happen now. Changes nothing.
   * @throws IospanError `ERR_IOSPAN_SYSCALL` when the kernel does not tell.
   */
  hotResetScope(): HotResetScope {
    const fd = this.#openFd();
    if (this.bus !== "pci") return noHotReset(`it is a ${this.bus} device`);
    return readHotResetScope(this.#syscalls, fd, { device: this.name, iommu: this.iommu });
  }

  /**
   * Resets all functions of the device's slot, or all devices on its bus: for a device without a reset of its own, and for
   * one that hangs so that its own does not help. All of them must be the caller's, see {@link hotResetScope}. Those that this
   * process has open do no DMA from before the reset on; as after {@link reset} the kernel has restored their configuration
   * space, and their interrupts are armed as before: what was told to their registers is lost. Off the event loop: takes a
   * second and more.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` where there is no such reset, `ERR_IOSPAN_RESET_REFUSED` naming the devices
   * that are not the caller's or stand in the way for good (virtual functions, bridges), `ERR_IOSPAN_RELEASED` when it is closed or
   * being closed; nothing was reset then.
   */
  async hotReset(): Promise<void> {
    this.#checkNotClosing();
    const about = { device: this.name, iommu: this.iommu };
    const scope = this.hotResetScope();
    if (!scope.possible) throw hotResetImpossible(scope, about);
    const hit = new Set(scope.devices.map(({ name }) => name));
    const open = [...openDevices.of(this.#syscalls)].filter(({ name }) => hit.has(name));
    const fd = this.#openFd();
    try {
      await withoutDma(open, () => this.#calls.run(() => resetSlotOrBus(this.#syscalls, fd, scope, about)));
    } finally {
      for (const device of open) device.#registersRevoked();
    }
  }

  /** @internal Whether it may master the bus again: not once {@link silence} was called. */
  get silenced(): boolean {
    return this.#silent;
  }

  /**
   * Sets the token that virtual functions of this physical function, and whoever opens it while they are in use, have to name
   * from now on. The kernel gives a random one to a function that was opened without.
   * @param uuid such as `crypto.randomUUID()` gives.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what is no UUID, `ERR_IOSPAN_NOT_SUPPORTED` for a device that is no
   * physical function with SR-IOV on vfio-pci.
   */
  setVfToken(uuid: string): void {
    setVfToken(this.#syscalls, this.#openFd(), uuid, { device: this.name, iommu: this.iommu });
  }

  /**
   * @internal The space's part.
   *
   * From now on `onRequest` is called when the kernel asks for the device back, after {@link removal} was aborted. Does
   * nothing for a device that it never asks for.
   * @throws IospanError `ERR_IOSPAN_INTERRUPT_REFUSED`.
   */
  watchRemoval(onRequest: () => void): void {
    const index = this.#interrupts.request;
    if (index === undefined) return;
    const owner = { device: this.name, iommu: this.iommu };
    this.#watch = RemovalWatch.arm(this.#syscalls, index, owner, () => {
      this.#removing.abort(deviceRemoved(this.name, this.iommu));
      onRequest();
    });
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
    this.#silent = true;
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
   * {@link reset}, of a device that is to be closed and is silent, after {@link callsEnded}. Whoever takes it from its driver
   * meanwhile, or resets it, holds its lock, which a reset does not wait for (drivers/pci/pci.c, pci_try_reset_function:
   * EAGAIN); nothing is wrong then.
   */
  async resetLast(): Promise<void> {
    await this.callsEnded();
    if (this.closed) return;
    try {
      await this.#reset();
    } catch (error) {
      if (!(error instanceof IospanError && error.errno === errno.EAGAIN)) throw error;
    }
  }

  /**
   * @internal The space's part.
   *
   * When no reset, of this device or by a hot reset of its group, is under way any more, and nobody else has its registers. A
   * silent device begins no reset; whom its registers are mapped for, is told by {@link release} how that ended.
   */
  async callsEnded(): Promise<void> {
    await Promise.all(this.#regions.map(({ users }) => users.endAll()));
    await this.#calls.ended();
    await this.#source.callsEnded?.();
  }

  /**
   * @internal The space's part.
   *
   * {@link silence}, then a reset where there is one, when those that are under way have ended.
   * @returns what went wrong.
   */
  async quiesce(): Promise<readonly unknown[]> {
    if (this.closed) return [];
    const failures = [...this.silence()];
    try {
      await (this.resettable ? this.resetLast() : this.callsEnded());
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
    openDevices.of(this.#syscalls).delete(this);
    const failures = [...this.#interrupts.closeAll(), ...this.#regions.flatMap((region) => region.close())];
    const steps = [() => this.#syscalls.close(fd), () => this.#source.deviceClosed?.()];
    return [...failures, ...failuresOf(...steps), ...(this.#watch?.close() ?? [])];
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

  /** A call that began now would still use the descriptor when it is closed. */
  #checkNotClosing(): void {
    this.#openFd();
    if (!this.#silent) return;
    throw new IospanError("ERR_IOSPAN_RELEASED", `${this.name} is being closed`, {
      device: this.name,
      iommu: this.iommu,
      hint: "closing it resets it where it can be reset",
    });
  }

  #openFd(): Fd {
    if (this.#fd !== undefined) return this.#fd;
    if (this.removal.aborted) throw this.removal.reason;
    throw new IospanError("ERR_IOSPAN_RELEASED", `${this.name} is closed`, {
      device: this.name,
      iommu: this.iommu,
      hint: "open it again; in a space: detach() and attach() it",
    });
  }
}
