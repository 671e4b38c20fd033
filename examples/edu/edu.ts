import type { Device, Iova, Region } from "iospan";

// Registers of BAR 0, or of a platform device's frame (QEMU, docs/specs/edu.rst).
const ID = 0x00;
const INTERRUPT_STATUS = 0x24;
const INTERRUPT_ACKNOWLEDGE = 0x64;
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;

/** 0xRRrr00ed: revision, and what tells the device from others. */
const isEdu = (id: number) => (id & 0xffff) === 0x00ed;

const COMMAND_START = 1 << 0;
const COMMAND_TO_MEMORY = 1 << 1;
const COMMAND_INTERRUPT = 1 << 2;

/** The engine's own memory, as its DMA engine addresses it. */
const BUFFER = 0x40000;

/** Bytes one job can move. */
export const EDU_BUFFER_SIZE = 4096;

/** A job takes the device 100 ms; one that takes so much longer never ends. */
const PATIENCE_MS = 10_000;

/** What a bus reads where no device answers. */
const ALL_ONES = 0xffff_ffff;

/** How a job's end is noticed. */
export type Completion = "poll" | "msi";

/**
 * A driver for QEMU's `edu` device: a DMA engine with 4 KiB of memory. It copies from an IOVA into its memory, or from its
 * memory to an IOVA.
 */
export class Edu {
  readonly #device: Device;
  readonly #bar: Region;

  /**
   * @param device an interface of a space, as `space.interface(name)` gives it.
   * @param region which of its regions has the registers: a BAR, or a frame's number.
   */
  constructor(device: Device, region: Parameters<Device["region"]>[0] = "bar0") {
    this.#device = device;
    this.#bar = device.region(region);
    const id = this.#bar.read32(ID);
    if (!isEdu(id)) throw new Error(`${device.name} is no edu device: its id register reads 0x${id.toString(16)}`);
  }

  get name(): string {
    return this.#device.name;
  }

  /** Copies `size` bytes from one IOVA to another, through the engine's memory. */
  async copy(from: Iova, to: Iova, size: number, completion: Completion = "poll"): Promise<void> {
    await this.load(from, size, completion);
    await this.store(to, size, completion);
  }

  /** Reads memory at an IOVA into the engine. */
  load(from: Iova, size: number, completion: Completion = "poll"): Promise<void> {
    return this.#run(from, BigInt(BUFFER), size, COMMAND_START, completion);
  }

  /** Writes the engine's memory to an IOVA. */
  store(to: Iova, size: number, completion: Completion = "poll"): Promise<void> {
    return this.#run(BigInt(BUFFER), to, size, COMMAND_START | COMMAND_TO_MEMORY, completion);
  }

  async #run(source: bigint, destination: bigint, size: number, command: number, completion: Completion) {
    if (size < 1 || size > EDU_BUFFER_SIZE)
      throw new RangeError(`${size} bytes; the engine moves 1 to ${EDU_BUFFER_SIZE}`);
    this.#bar.write64(DMA_SOURCE, source);
    this.#bar.write64(DMA_DESTINATION, destination);
    this.#bar.write64(DMA_COUNT, BigInt(size));
    if (completion === "msi") await this.#runWithInterrupt(command);
    else await this.#runPolled(command);
  }

  async #runPolled(command: number): Promise<void> {
    const start = performance.now();
    this.#bar.write32(DMA_COMMAND, command);
    for (let looks = 1; ; looks += 1) {
      const state = this.#bar.read32(DMA_COMMAND);
      if (state === ALL_ONES) throw new Error(`${this.name} is gone: its registers read all ones`);
      if ((state & COMMAND_START) === 0) return;
      if (performance.now() - start > PATIENCE_MS) throw new Error(`${this.name} does not end its job`);
      // A simulated device's time passes with every look: the second one finds it done.
      if (looks > 1) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async #runWithInterrupt(command: number): Promise<void> {
    // Armed before the job is started, so that its end cannot be missed.
    using interrupt = this.#device.interrupt("msi", 0, { signal: AbortSignal.timeout(PATIENCE_MS) });
    this.#bar.write32(DMA_COMMAND, command | COMMAND_INTERRUPT);
    const { done } = await interrupt.next();
    if (done) throw new Error(`${this.name}: its interrupt was closed while a job was under way`);
    this.#bar.write32(INTERRUPT_ACKNOWLEDGE, this.#bar.read32(INTERRUPT_STATUS));
  }
}
