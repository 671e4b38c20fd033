import type { PhysicalMemory } from "../physical-memory.js";
import { eventIds } from "./events.js";
import type { Fault } from "./fault.js";
import type { SmmuFeatures } from "./features.js";
import type { RegisterFile } from "./register-file.js";
import { registers, streamTableFormats } from "./registers.js";
import { streamTableEntry, streamTableLink } from "./stream-table-entry.js";

/** L1STD.Span: more is reserved. */
const MAX_SPAN = 11;
/** STRTAB_BASE_CFG.SPLIT; other values are taken as the first. */
const SPLITS: readonly number[] = [6, 8, 10];

/** The stream table that STRTAB_BASE and STRTAB_BASE_CFG describe. */
export class StreamTable {
  readonly #memory: PhysicalMemory;
  readonly #registers: RegisterFile;
  readonly #features: SmmuFeatures;

  constructor(memory: PhysicalMemory, file: RegisterFile, features: SmmuFeatures) {
    this.#memory = memory;
    this.#registers = file;
    this.#features = features;
  }

  /** The address of a stream's STE; -1, with the fault set, when the table has none for it. */
  locate(streamId: number, fault: Fault): number {
    const format = this.#registers.field(registers.STRTAB_BASE_CFG, "FMT");
    const base = this.#registers.field(registers.STRTAB_BASE, "ADDR");
    const log2Size = this.#registers.field(registers.STRTAB_BASE_CFG, "LOG2SIZE");
    const bits = Math.min(log2Size, this.#features.streamIdBits);
    if (streamId >= 2 ** bits) return outside(fault);
    if (format === streamTableFormats.TWO_LEVEL && this.#features.twoLevelStreamTable)
      return this.#locateBelow(base, streamId, bits, fault);
    return alignDown(base, streamTableEntry.size * 2 ** bits) + streamId * streamTableEntry.size;
  }

  #locateBelow(base: number, streamId: number, bits: number, fault: Fault): number {
    const field = this.#registers.field(registers.STRTAB_BASE_CFG, "SPLIT");
    const split = SPLITS.includes(field) ? field : 6;
    const size = Math.max(64, streamTableLink.size * 2 ** Math.max(bits - split, 0));
    const index = Math.floor(streamId / 2 ** split);
    const address = alignDown(base, size) + index * streamTableLink.size;
    const word = this.#memory.read64(address);
    if (word === undefined) {
      fault.set(eventIds.F_STE_FETCH);
      fault.fetchAddress = address;
      return -1;
    }
    const { Span, L2Ptr } = streamTableLink.decode([word]);
    const below = streamId % 2 ** split;
    if (Span === 0 || Span > MAX_SPAN || Span > split + 1 || below >= 2 ** (Span - 1)) return outside(fault);
    return alignDown(L2Ptr, streamTableEntry.size * 2 ** (Span - 1)) + below * streamTableEntry.size;
  }
}

function outside(fault: Fault): number {
  fault.set(eventIds.C_BAD_STREAMID);
  return -1;
}

/** The SMMU takes as zero the address bits that the table's size makes so. */
function alignDown(address: number, size: number): number {
  return address - (address % size);
}
