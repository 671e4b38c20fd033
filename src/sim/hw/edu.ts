import type { DeviceKind, DeviceModel, RegisterWidth, Wiring } from "./device-model.js";

// QEMU's teaching device, after its docs/specs/edu.rst and hw/misc/edu.c.
const IDENTIFICATION = 0x010000edn;
const REGISTER = {
  ID: 0x00,
  LIVENESS: 0x04,
  FACTORIAL: 0x08,
  STATUS: 0x20,
  IRQ_STATUS: 0x24,
  IRQ_RAISE: 0x60,
  IRQ_ACK: 0x64,
  DMA_SOURCE: 0x80,
  DMA_DESTINATION: 0x88,
  DMA_COUNT: 0x90,
  DMA_COMMAND: 0x98,
} as const;
const STATUS_COMPUTING = 0x01;
const STATUS_IRQ_FACTORIAL = 0x80;
const COMMAND_RUN = 1n;
const COMMAND_FROM_DEVICE = 2n;
const COMMAND_IRQ = 4n;
const FACTORIAL_IRQ = 0x001;
const DMA_IRQ = 0x100;
/** Where the device's own buffer begins in the addresses it uses for DMA. It is not visible through the BAR. */
const BUFFER_BASE = 0x40000n;
const BUFFER_SIZE = 4096;
const DMA_MILLISECONDS = 100;
const BAR_SIZE = 2 ** 20;

/** Options of {@link edu}. */
export interface EduOptions {
  /** Bits of a DMA address that the device puts on the bus; QEMU's default is 28 bits. All 64 where absent. */
  readonly dmaMask?: bigint;
}

/**
 * QEMU's `edu`: a DMA engine with a 4 KiB buffer, a factorial unit and an interrupt. A transfer takes 100 ms of the
 * simulation's time; a program that polls the command register sees it busy at least once.
 */
export function edu({ dmaMask = 2n ** 64n - 1n }: EduOptions = {}): DeviceKind {
  return {
    pci: {
      vendor: 0x1234,
      device: 0x11e8,
      classCode: 0x00ff00,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      revision: 0x10,
      bars: [{ index: 0, size: BAR_SIZE }],
      msiVectors: 1,
      intx: true,
    },
    create: (wiring) => new Edu(wiring, dmaMask),
  };
}

interface Transfer {
  source: bigint;
  destination: bigint;
  count: bigint;
  command: bigint;
}

class Edu implements DeviceModel {
  readonly #wiring: Wiring;
  readonly #dmaMask: bigint;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #liveness = 0;
  #factorial = 0;
  #status = 0;
  #irqStatus = 0;
  #dma: Transfer = { source: 0n, destination: 0n, count: 0n, command: 0n };
  /** Counts resets: what was started before one must not end after it. */
  #life = 0;

  constructor(wiring: Wiring, dmaMask: bigint) {
    this.#wiring = wiring;
    this.#dmaMask = dmaMask;
  }

  reset(): void {
    this.#life += 1;
    this.#buffer.fill(0);
    this.#liveness = 0;
    this.#factorial = 0;
    this.#status = 0;
    this.#irqStatus = 0;
    this.#dma = { source: 0n, destination: 0n, count: 0n, command: 0n };
    this.#wiring.interrupts.setLevel(false);
  }

  read(_bar: number, offset: number, width: RegisterWidth): bigint {
    if (!allowed(offset, width)) return BigInt.asUintN(8 * width, -1n);
    return BigInt.asUintN(8 * width, this.#read(offset));
  }

  #read(offset: number): bigint {
    switch (offset) {
      case REGISTER.ID:
        return IDENTIFICATION;
      case REGISTER.LIVENESS:
        return BigInt(this.#liveness);
      case REGISTER.FACTORIAL:
        return BigInt(this.#factorial);
      case REGISTER.STATUS:
        return this.#polled(BigInt(this.#status), this.#status & STATUS_COMPUTING);
      case REGISTER.IRQ_STATUS:
        return this.#polled(BigInt(this.#irqStatus), Number(this.#dma.command & COMMAND_RUN));
      case REGISTER.DMA_SOURCE:
        return this.#dma.source;
      case REGISTER.DMA_DESTINATION:
        return this.#dma.destination;
      case REGISTER.DMA_COUNT:
        return this.#dma.count;
      case REGISTER.DMA_COMMAND:
        return this.#polled(this.#dma.command, Number(this.#dma.command & COMMAND_RUN));
      default:
        return -1n;
    }
  }

  /** Somebody looks whether the device is done: what he sees is now, and time passes. */
  #polled(value: bigint, busy: number): bigint {
    if (busy !== 0) this.#wiring.clock.step();
    return value;
  }

  write(_bar: number, offset: number, width: RegisterWidth, value: bigint): void {
    if (!allowed(offset, width)) return;
    const low = Number(BigInt.asUintN(32, value));
    switch (offset) {
      case REGISTER.LIVENESS:
        this.#liveness = ~low >>> 0;
        break;
      case REGISTER.FACTORIAL:
        this.#startFactorial(low);
        break;
      case REGISTER.STATUS:
        this.#status = (this.#status & ~STATUS_IRQ_FACTORIAL) | (low & STATUS_IRQ_FACTORIAL);
        break;
      case REGISTER.IRQ_RAISE:
        this.#raise(low);
        break;
      case REGISTER.IRQ_ACK:
        this.#acknowledge(low);
        break;
      default:
        this.#writeDma(offset, value);
    }
  }

  #writeDma(offset: number, value: bigint): void {
    if ((this.#dma.command & COMMAND_RUN) !== 0n) return;
    if (offset === REGISTER.DMA_SOURCE) this.#dma.source = value;
    else if (offset === REGISTER.DMA_DESTINATION) this.#dma.destination = value;
    else if (offset === REGISTER.DMA_COUNT) this.#dma.count = value;
    else if (offset === REGISTER.DMA_COMMAND && (value & COMMAND_RUN) !== 0n) this.#startDma(value);
  }

  #startDma(command: bigint): void {
    this.#dma.command = command;
    this.#later(DMA_MILLISECONDS, () => {
      this.#transfer();
      this.#dma.command &= ~COMMAND_RUN;
      if ((command & COMMAND_IRQ) !== 0n) this.#raise(DMA_IRQ);
    });
  }

  #transfer(): void {
    const { source, destination, count, command } = this.#dma;
    const fromDevice = (command & COMMAND_FROM_DEVICE) !== 0n;
    const inside = (fromDevice ? source : destination) - BUFFER_BASE;
    // QEMU calls it the guest's error and transfers nothing.
    if (inside < 0n || inside + count > BigInt(BUFFER_SIZE)) return;
    const bytes = this.#buffer.subarray(Number(inside), Number(inside + count));
    const { dma } = this.#wiring;
    if (fromDevice) dma.write(destination & this.#dmaMask, bytes);
    else dma.read(source & this.#dmaMask, bytes);
  }

  #startFactorial(operand: number): void {
    if ((this.#status & STATUS_COMPUTING) !== 0) return;
    this.#status |= STATUS_COMPUTING;
    this.#later(0, () => {
      this.#factorial = factorial(operand);
      this.#status &= ~STATUS_COMPUTING;
      if ((this.#status & STATUS_IRQ_FACTORIAL) !== 0) this.#raise(FACTORIAL_IRQ);
    });
    this.#factorial = operand;
  }

  #raise(bits: number): void {
    this.#irqStatus = (this.#irqStatus | bits) >>> 0;
    if (this.#irqStatus === 0) return;
    const { interrupts } = this.#wiring;
    if (interrupts.msiEnabled) interrupts.msi(0);
    else interrupts.setLevel(true);
  }

  #acknowledge(bits: number): void {
    this.#irqStatus = (this.#irqStatus & ~bits) >>> 0;
    if (this.#irqStatus === 0) this.#wiring.interrupts.setLevel(false);
  }

  #later(delay: number, callback: () => void): void {
    const life = this.#life;
    this.#wiring.clock.after(delay, () => {
      if (this.#life === life) callback();
    });
  }
}

/** Below 0x80 the device takes 4 bytes at a time, from there on 4 or 8. */
function allowed(offset: number, width: RegisterWidth): boolean {
  return width === 4 || (width === 8 && offset >= REGISTER.DMA_SOURCE);
}

/** Modulo 2^32, like the device's. */
function factorial(operand: number): number {
  let result = 1;
  // 34! is a multiple of 2^32.
  for (let factor = Math.min(operand, 34); factor > 1; factor--) result = Math.imul(result, factor) >>> 0;
  return result;
}
