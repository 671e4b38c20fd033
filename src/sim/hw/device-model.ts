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

/** How a device interrupts. */
export interface InterruptPins {
  /** A PCI function's INTx, or a platform device's wire. */
  setLevel(raised: boolean): void;
  readonly msiEnabled: boolean;
  msi(vector: number): void;
}

/** What a device is soldered to. */
export interface Wiring {
  readonly clock: Clock;
  readonly dma: DmaPort;
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
  /** Memory BARs; sizes are powers of two. */
  readonly bars?: readonly { readonly index: number; readonly size: number }[];
  /** 1 to 32, a power of two; absent: no MSI. */
  readonly msiVectors?: number;
  /** Whether it has an INTx pin. */
  readonly intx?: boolean;
  /** A bridge, whose configuration header is another. */
  readonly bridge?: boolean;
}

/** A kind of device, to be built into a machine. */
export interface DeviceKind {
  readonly pci?: PciIdentity;
  create(wiring: Wiring): DeviceModel;
}

/** A device whose registers read as zeros and do nothing. */
export function inert(pci?: PciIdentity): DeviceKind {
  const model: DeviceModel = { read: () => 0n, write: () => {}, reset: () => {} };
  return { ...(pci === undefined ? {} : { pci }), create: () => model };
}
