import { IospanError } from "../../errors.js";
import type { Iova } from "../../iova.js";
import type { IoAddressSpace } from "../../space/io-address-space.js";
import type { Device } from "../../vfio/device.js";
import type { Region } from "../../vfio/region.js";
import type { ChipTime, DmaPath, Engine } from "./engine.js";

// Registers of BAR 0 (QEMU, docs/specs/edu.rst).
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;
const START = 1 << 0;
const TO_MEMORY = 1 << 1;
/** The device's own memory, as its DMA engine addresses it. */
const BUFFER = 0x40000n;
const BUFFER_SIZE = 4096;
/** A job is over after a few looks; one that takes more never ends. */
const PATIENCE = 10_000;

/** QEMU's `edu`, as it says it is: 1234:11e8. */
export const EDU_IDS = { vendor: 0x1234, device: 0x11e8 } as const;

/** Jobs of {@link EduEngine.load}. */
const ROUNDS = 8;

/** Several `edu`, an engine each: what one copies at a time goes through its 4 KiB of memory. */
export class EduEngine implements Engine {
  readonly load: number;
  readonly paths: readonly EduPath[];
  readonly #time: ChipTime;

  /** @param names those of the `edu` in the space. */
  constructor(space: IoAddressSpace, names: readonly string[], time: ChipTime) {
    this.#time = time;
    this.paths = names.map((name) => new EduPath(space.interface(name), time));
    this.load = ROUNDS * this.paths.length * BUFFER_SIZE;
  }

  async copyOverAll(from: Iova, to: Iova, length: number): Promise<number> {
    const start = this.#time.nanoseconds;
    for (let offset = 0; offset < length; offset += this.paths.length * BUFFER_SIZE) {
      const parts = this.paths.map((path, index) => ({ path, part: partAt(offset + index * BUFFER_SIZE, length) }));
      // All are told to begin before any is waited for.
      for (const { path, part } of parts) path.startReading(from + part.offset, part.size);
      for (const { path } of parts) await path.finished();
      for (const { path, part } of parts) path.startWriting(to + part.offset, part.size);
      for (const { path } of parts) await path.finished();
    }
    return this.#time.nanoseconds - start;
  }

  /** Every copy has been waited for. */
  async close(): Promise<void> {}
}

/** As much as the engine's memory holds, and no more than there is. */
function partAt(offset: number, length: number): { readonly offset: bigint; readonly size: bigint } {
  return { offset: BigInt(offset), size: BigInt(Math.max(0, Math.min(BUFFER_SIZE, length - offset))) };
}

class EduPath implements DmaPath {
  readonly interface: string;
  readonly #bar: Region;
  readonly #time: ChipTime;

  constructor(device: Device, time: ChipTime) {
    this.interface = device.name;
    this.#time = time;
    this.#bar = device.region("bar0");
  }

  async copy(from: Iova, to: Iova, length: number): Promise<number> {
    const start = this.#time.nanoseconds;
    for (let done = 0; done < length; done += BUFFER_SIZE) {
      const { offset, size } = partAt(done, length);
      this.startReading(from + offset, size);
      await this.finished();
      this.startWriting(to + offset, size);
      await this.finished();
    }
    return this.#time.nanoseconds - start;
  }

  startReading(from: bigint, size: bigint): void {
    this.#start(from, BUFFER, size, START);
  }

  startWriting(to: bigint, size: bigint): void {
    this.#start(BUFFER, to, size, START | TO_MEMORY);
  }

  #start(source: bigint, destination: bigint, size: bigint, command: number): void {
    this.#bar.write64(DMA_SOURCE, source);
    this.#bar.write64(DMA_DESTINATION, destination);
    this.#bar.write64(DMA_COUNT, size);
    this.#bar.write32(DMA_COMMAND, command);
  }

  async finished(): Promise<void> {
    for (let looks = 0; looks < PATIENCE; looks += 1) {
      if ((this.#bar.read32(DMA_COMMAND) & START) === 0) return;
      // On hardware this is where others get a turn; here it is also where the chip's time may pass.
      await undefined;
    }
    throw new IospanError("ERR_IOSPAN_DEVICE_FAILED", `${this.interface} does not end its job`, {
      device: this.interface,
      hint: "reset the device",
    });
  }
}
