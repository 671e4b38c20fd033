import type { Region } from "./region.js";

// Offsets in the configuration header and bits of the command register (PCI Local Bus 3.0, 6.1 and 6.2.2).
const VENDOR_ID = 0x00;
const DEVICE_ID = 0x02;
const COMMAND = 0x04;
const COMMAND_MEMORY_SPACE = 1 << 1;
const COMMAND_BUS_MASTER = 1 << 2;

/** A PCI device's configuration space, as vfio-pci lets it be seen. */
export class PciConfig {
  /** All of it, for everything that has no method here. */
  readonly region: Region;

  constructor(region: Region) {
    this.region = region;
  }

  get vendorId(): number {
    return this.region.read16(VENDOR_ID);
  }

  get deviceId(): number {
    return this.region.read16(DEVICE_ID);
  }

  /** Whether the device may start transactions of its own: DMA and MSIs. */
  get busMaster(): boolean {
    return (this.region.read16(COMMAND) & COMMAND_BUS_MASTER) !== 0;
  }

  /** Lets the device master the bus, and its memory BARs answer; or stops it mastering, and leaves the BARs alone. */
  setBusMaster(on: boolean): void {
    const command = this.region.read16(COMMAND);
    const next = on ? command | COMMAND_BUS_MASTER | COMMAND_MEMORY_SPACE : command & ~COMMAND_BUS_MASTER;
    if (next !== command) this.region.write16(COMMAND, next);
  }
}
