import { IospanError } from "../../errors.js";
import type { RamBank } from "../hw/physical-memory.js";
import { IntervalMap } from "../interval-map.js";

/** Registers that a processor of 32 bits could reach; BARs have no more. */
const END = 2 ** 32;
/** Below it, firmware and exception vectors have their place. */
const LOWEST = 2 ** 20;

/** What is where in the physical address space. */
export class PhysicalLayout {
  readonly #taken = new IntervalMap<string>((what) => what);

  /** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for banks that overlap. */
  constructor(banks: readonly RamBank[]) {
    for (const { start, size } of banks) this.claim(start, size, "RAM");
  }

  /**
   * Takes a given place.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` where something else is.
   */
  claim(start: number, size: number, what: string): void {
    const other = this.#taken.first(start, start + size);
    if (other !== undefined) throw overlap(what, start, size, other.value);
    this.#taken.insert(start, start + size, what);
  }

  /**
   * Takes the first free place from `preferred` on, or where there is none before the end of 32 bits, the first of all; its
   * address is a multiple of its size.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` when there is none at all.
   */
  place(size: number, preferred: number, what: string): number {
    const start = this.#search(size, preferred) ?? this.#search(size, LOWEST);
    if (start === undefined) throw noRoom(what, size);
    this.claim(start, size, what);
    return start;
  }

  #search(size: number, from: number): number | undefined {
    let start = Math.ceil(from / size) * size;
    while (start + size <= END) {
      const other = this.#taken.first(start, start + size);
      if (other === undefined) return start;
      start = Math.ceil(other.end / size) * size;
    }
    return undefined;
  }
}

function overlap(what: string, start: number, size: number, other: string): IospanError {
  const range = `0x${start.toString(16)} to 0x${(start + size).toString(16)}`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${what} is at ${range}, where ${other} is`, {
    hint: "give each its own physical addresses",
  });
}

function noRoom(what: string, size: number): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `no room for ${what}, ${size} bytes below 4 GiB`, {
    hint: "leave some of the first 4 GiB of physical addresses free of RAM",
  });
}
