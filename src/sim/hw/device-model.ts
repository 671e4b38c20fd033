import type { Clock } from "./clock.js";

/** The widths that buses know, in bytes. */
export const registerWidths = [1, 2, 4, 8] as const;

/** Bytes of one register access. */
export type RegisterWidth = (typeof registerWidths)[number];

/** How a device reaches memory: addresses are what it puts on the bus. */
export interface DmaPort {
  /** @returns false when part of it was aborted; those bytes read as zeros. */
  read(address: bigint, into: Uint8Array): boolean;
  /** @returns false when part of it was aborted; those bytes are lost. */
  write(address: bigint, from: Uint8Array): boolean;
}

/** How an access with a duration went. */
export interface TimedAccess {
  /** False when part of it was aborted. */
  readonly complete: boolean;
  /** The first address that was aborted; undefined when none was. */
  readonly abortedAt: bigint | undefined;
  /** When it is over: nanoseconds on the simulation's clock. */
  readonly done: number;
}

/**
 * A port whose accesses take time: that of the device's link, of the memory that all links share, and of the IOMMU's table
 * walks. The methods of {@link DmaPort} take none.
 */
export interface TimedDmaPort extends DmaPort {
  /** Requests bytes now. They are those that memory has now, and are with the device at `done`. */
  readTimed(address: bigint, into: Uint8Array): TimedAccess;
  /** Sends `length` bytes towards memory now. @returns when the last one reaches the IOMMU: the moment for {@link writeTimed}. */
  send(length: number): number;
  /** What was sent has arrived: it is translated and in memory when this returns, and confirmed to the device at `done`. */
  writeTimed(address: bigint, from: Uint8Array): TimedAccess;
}

/** How a device interrupts. */
export interface InterruptPins {
  /** A platform device's wires; undefined on PCI, where INTx is the only one. */
  readonly wires: number | undefined;
  /** @param wire of a platform device, 0 where absent: the index of the interrupt in its node */
  setLevel(raised: boolean, wire?: number): void;
  readonly msiEnabled: boolean;
  msi(vector: number): void;
}

/** What a device is soldered to. */
export interface Wiring {
  readonly clock: Clock;
  readonly dma: TimedDmaPort;
  readonly interrupts: InterruptPins;
}

/** The inside of a device: what happens when its registers are touched. */
export interface DeviceModel {
  /** @param bar the PCI base address register, or the platform device's resource */
  read(bar: number, offset: number, width: RegisterWidth): bigint;
  write(bar: number, offset: number, width: RegisterWidth, value: bigint): void;
  reset(): void;
}

/** What a PCI function's configuration space says. */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  /** 24 bits: base class, subclass, programming interface. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  readonly revision?: number;
  /** Memory BARs of 32 bits; indexes are 0 to 5, sizes powers of two from 16 bytes on. */
  readonly bars?: readonly { readonly index: number; readonly size: number }[];
  /** 1 to 32, a power of two; absent: no MSI. */
  readonly msiVectors?: number;
  /** Whether it has an INTx pin. */
  readonly intx?: boolean;
  /** A bridge, whose configuration header is another. */
  readonly bridge?: boolean;
}

/** A kind of device, to be built into a machine. For one of your own see {@link SimulatedDevice} and `simulatedDevice`. */
export interface DeviceKind {
  readonly pci?: PciIdentity;
  create(wiring: Wiring): DeviceModel;
}

/**
 * A simulated device of your own: what its registers answer. What a method throws, the access that called it throws.
 *
 * Values are little-endian numbers of the access's width; what does not fit is cut, so -1 reads as all ones. An access may
 * have any offset that is a multiple of its width, whether or not there is a register.
 */
export interface SimulatedDevice {
  /** @param region the PCI base address register (0 to 5), or the platform device's `reg` entry, from 0. */
  read(region: number, offset: number, width: RegisterWidth): bigint | number;
  write(region: number, offset: number, width: RegisterWidth, value: bigint): void;
  /**
   * A function-level reset, or a platform device's reset line: back to power-on. The kernel resets a device when it is opened
   * and closed, too. The interrupt's wire is low and what was left to {@link DeviceTimer.after} is forgotten when it is
   * called. What it throws is an uncaught error, since the kernel goes on.
   */
  reset?(): void;
}

/** The simulation's time, as a device of your own sees it. */
export interface DeviceTimer {
  /** Milliseconds since power-on, with fractions. */
  readonly now: number;
  /**
   * Calls back `delay` milliseconds of the simulation's time from now, unless the device is reset before. Time passes when
   * the program waits for something, and when it polls: reading a register again with no write in between lets time go on to
   * the next thing that is due. What `callback` throws is an uncaught error.
   */
  after(delay: number, callback: () => void): void;
}

/** What a device of your own has around it. */
export interface DeviceHost {
  /** Memory, through the IOMMU that the device is behind. On PCI only while the function may master the bus. */
  readonly dma: DmaPort;
  readonly clock: DeviceTimer;
  /**
   * Interrupts. With MSI enabled by the driver this is one message; else the wire (PCI: INTx, platform: one of its
   * interrupts) goes high and stays so until {@link lowerInterrupt}.
   * @param index 0 where absent. On PCI the MSI vector; INTx is the same for all. Of a platform device the interrupt, in the
   * order of its node's `interrupts`; 0 can be raised where there is none, and nobody hears it.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a vector that the device's {@link PciIdentity} does not have, or an
   * interrupt that its node does not have.
   */
  raiseInterrupt(index?: number): void;
  /** Lets the wire go; does nothing when it is low. @param index as for {@link raiseInterrupt}, which says what it throws */
  lowerInterrupt(index?: number): void;
}

/** Makes a device of your own, once for each that is built into a machine. */
export type DeviceFactory = (host: DeviceHost) => SimulatedDevice;

/** A device whose registers read as zeros and do nothing. */
export function inert(pci?: PciIdentity): DeviceKind {
  const model: DeviceModel = { read: () => 0n, write: () => {}, reset: () => {} };
  return { ...(pci === undefined ? {} : { pci }), create: () => model };
}
