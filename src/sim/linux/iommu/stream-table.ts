import { registers, streamTableFormats } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";
import { streamTableEntry, streamTableLink } from "../../hw/smmu/stream-table-entry.js";
import type { CoherentMemory, SharedMemory } from "./coherent-memory.js";
import { type SmmuProperties, STREAM_TABLE_SPLIT } from "./smmu-properties.js";
import { ABORT_ENTRY } from "./stream-entries.js";

/** STRTAB_MAX_L1_ENTRIES: with 256 StreamIDs each, 25 bits. */
const MOST_LINKS = 2 ** 17;
/** As bits of a StreamID: what an SMMU may have beyond them, Linux refuses with ERANGE (arm_smmu_sid_in_range). */
export const MOST_TABLE_BITS: number = Math.log2(MOST_LINKS) + STREAM_TABLE_SPLIT;
const LEAF_ENTRIES = 2 ** STREAM_TABLE_SPLIT;
const WORDS = streamTableEntry.size / 8;

/** The stream table: what becomes of each StreamID's DMA. It is all aborted at first. */
export class StreamTable {
  readonly #memory: CoherentMemory;
  readonly #log2Size: number;
  readonly #isTwoLevel: boolean;
  readonly #first: SharedMemory;
  readonly #leaves = new Map<number, SharedMemory>();

  /** Refuses with ENOMEM. */
  constructor(memory: CoherentMemory, { streamIdBits, twoLevelStreamTable }: SmmuProperties) {
    this.#memory = memory;
    this.#isTwoLevel = twoLevelStreamTable;
    this.#log2Size = twoLevelStreamTable ? Math.min(streamIdBits, MOST_TABLE_BITS) : streamIdBits;
    const entries = 2 ** this.#log2Size;
    this.#first = memory.allocate(
      twoLevelStreamTable ? (entries / LEAF_ENTRIES) * streamTableLink.size : entries * streamTableEntry.size,
    );
    if (!twoLevelStreamTable) abortAll(this.#first);
  }

  /** Tells the SMMU where the table is. */
  install(hardware: SmmuV3): void {
    const base = registers.STRTAB_BASE.encode({ ADDR: this.#first.address, RA: 1 });
    const layout = this.#isTwoLevel
      ? { FMT: streamTableFormats.TWO_LEVEL, SPLIT: STREAM_TABLE_SPLIT }
      : { FMT: streamTableFormats.LINEAR };
    hardware.write64(registers.STRTAB_BASE.offset, base);
    const config = registers.STRTAB_BASE_CFG.encode({ ...layout, LOG2SIZE: this.#log2Size });
    hardware.write32(registers.STRTAB_BASE_CFG.offset, config);
  }

  covers(streamId: number): boolean {
    return streamId < 2 ** this.#log2Size;
  }

  /** The words of a StreamID's entry. Refuses with ENOMEM. */
  entry(streamId: number): BigUint64Array {
    const table = this.#isTwoLevel ? this.#leaf(Math.floor(streamId / LEAF_ENTRIES)) : this.#first;
    const index = this.#isTwoLevel ? streamId % LEAF_ENTRIES : streamId;
    return table.words.subarray(index * WORDS, (index + 1) * WORDS);
  }

  /** arm_smmu_init_l2_strtab. */
  #leaf(index: number): SharedMemory {
    const found = this.#leaves.get(index);
    if (found !== undefined) return found;
    const leaf = this.#memory.allocate(LEAF_ENTRIES * streamTableEntry.size);
    abortAll(leaf);
    this.#leaves.set(index, leaf);
    const [link = 0n] = streamTableLink.encode({ Span: STREAM_TABLE_SPLIT + 1, L2Ptr: leaf.address });
    this.#first.words[index] = link;
    return leaf;
  }
}

/** The rest of such an entry is 0, as fresh memory is. */
function abortAll({ words }: SharedMemory): void {
  const [first = 0n] = ABORT_ENTRY;
  for (let entry = 0; entry < words.length; entry += WORDS) words[entry] = first;
}
