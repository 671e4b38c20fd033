import type { Device, Iova, Region } from "iospan";

const SOURCE = 0x00;
const LENGTH = 0x08;
const START = 0x0c;
const STATUS = 0x10;
const RESULT = 0x14;
const STATUS_BUSY = 1 << 0;
const STATUS_FAULT = 1 << 1;
const STATUS_INTERRUPT = 1 << 2;

/** A driver for a unit that adds up the bytes of memory: what one writes with iospan, for real hardware. */
export class Checksum {
  readonly #device: Device;
  readonly #registers: Region;

  constructor(device: Device) {
    this.#device = device;
    this.#registers = device.region(0);
  }

  /** The sum of `length` bytes at an IOVA, modulo 2^32. @throws Error when the unit could not read them. */
  async sum(source: Iova, length: number): Promise<number> {
    const registers = this.#registers;
    using interrupt = this.#device.interrupt("irq");
    registers.write64(SOURCE, source);
    registers.write32(LENGTH, length);
    registers.write32(START, 1);
    await interrupt.next();
    const status = registers.read32(STATUS);
    registers.write32(STATUS, STATUS_INTERRUPT);
    if ((status & STATUS_FAULT) !== 0) throw new Error(`${this.#device.name} could not read all of it`);
    return registers.read32(RESULT);
  }

  /** {@link sum} without the interrupt. */
  sumPolled(source: Iova, length: number): number {
    const registers = this.#registers;
    registers.write64(SOURCE, source);
    registers.write32(LENGTH, length);
    registers.write32(START, 1);
    while ((registers.read32(STATUS) & STATUS_BUSY) !== 0);
    registers.write32(STATUS, STATUS_INTERRUPT);
    return registers.read32(RESULT);
  }
}
