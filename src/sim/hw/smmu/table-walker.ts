import type { PhysicalMemory } from "../physical-memory.js";
import type { Counters } from "./counters.js";
import { eventClasses, eventIds } from "./events.js";
import type { Fault } from "./fault.js";
import { descriptorAddress, LAST_LEVEL } from "./page-descriptor.js";
import { inversePowers, offsetInBlock, powers } from "./powers-of-two.js";
import type { TranslationTable } from "./translation-table.js";

/** Permissions of a translation, as bits. */
export const READ = 1;
/** Permissions of a translation, as bits. */
export const WRITE = 2;

/** Finds descriptors whose addresses are intermediate ones. */
export interface Stage2 {
  /** The physical address of a stage 1 descriptor or of a CD; -1 with the fault set when stage 2 does not let it be used so. */
  locate(intermediateAddress: number, faultClass: number, permission?: number): number;
}

// In the lower 32 bits of a descriptor.
const VALID = 1 << 0;
/** Not a block. */
const TABLE_OR_PAGE = 1 << 1;
const STAGE_2_MEMORY_TYPE = 3 << 4;
const AP_UNPRIVILEGED = 1 << 6;
const AP_READ_ONLY = 1 << 7;
const S2AP_READ = 1 << 6;
const S2AP_WRITE = 1 << 7;
const ACCESS_FLAG = 1 << 10;
const NOT_GLOBAL = 1 << 11;
// In the upper ones.
const DIRTY_MODIFIER = 1 << (51 - 32);
const CONTIGUOUS = 1 << (52 - 32);
const APTABLE_NO_UNPRIVILEGED = 1 << (61 - 32);
const APTABLE_READ_ONLY = 1 << (62 - 32);

/** Walks VMSAv8-64 translation tables (Arm DDI 0487, D8.2) as they lie in memory. After a walk, its fields say what was found. */
export class TableWalker {
  /** Where the block, page or contiguous range begins that the address is translated to. */
  target = 0;
  /** log2 of its size. */
  sizeBits = 0;
  level = 0;
  /** {@link READ} and {@link WRITE}. */
  permissions = 0;
  /** The translation is the same for all ASIDs. */
  isGlobal = false;
  /** The first write makes it writable, which says that there was one: {@link permissions} are those until then. */
  isClean = false;
  /** Stage 2: memory of a Device type. */
  isDevice = false;
  readonly #memory: PhysicalMemory;
  readonly #fault: Fault;
  readonly #counters: Counters;
  /** Table descriptors on the way took this away. */
  #apTable = 0;

  constructor(memory: PhysicalMemory, fault: Fault, counters: Counters) {
    this.#memory = memory;
    this.#fault = fault;
    this.#counters = counters;
  }

  /**
   * @param input inside the table's range
   * @param stage2 where the table's own addresses are intermediate ones
   * @param faultClass for a fault in stage 2: what the input is the address of
   * @param permission what the walk is for: a write may be marked in the leaf
   * @returns whether a leaf was found; otherwise the fault is set
   */
  walk(
    table: TranslationTable,
    input: number,
    stage2: Stage2 | undefined,
    faultClass: number,
    permission: number,
  ): boolean {
    const { levelBits } = table.shape;
    let base = table.base;
    let rest = input;
    let place = base;
    this.#counters.walks++;
    this.#apTable = 0;
    for (let level = table.firstLevel; ; level++) {
      const bits = levelBits[level] as number;
      const index = (rest * (inversePowers[bits] as number)) | 0;
      rest -= index * (powers[bits] as number);
      place = base + index * 8;
      const address = stage2 === undefined ? place : stage2.locate(place, eventClasses.TT);
      if (address < 0) return false;
      this.#counters.descriptorReads++;
      if (!this.#memory.readHalves(address)) return this.#aborted(table, address, faultClass);
      const { low, high } = this.#memory;
      const isTableOrPage = (low & TABLE_OR_PAGE) !== 0;
      if ((low & VALID) === 0) return this.#refuse(eventIds.F_TRANSLATION, table, input, faultClass);
      if (level === LAST_LEVEL || !isTableOrPage) {
        if (!this.#leaf(table, input, faultClass, level, low, high)) return false;
        return !updates(table) || this.#update(table, place, stage2, faultClass, permission, low);
      }
      base = addressIn(table, low, high);
      if (base >= table.outputLimit) return this.#refuse(eventIds.F_ADDR_SIZE, table, input, faultClass);
      this.#apTable |= high;
    }
  }

  #leaf(table: TranslationTable, input: number, faultClass: number, level: number, low: number, high: number): boolean {
    if (!isLeafAllowed(table, level, low)) return this.#refuse(eventIds.F_TRANSLATION, table, input, faultClass);
    const output = addressIn(table, low, high);
    if (output >= table.outputLimit) return this.#refuse(eventIds.F_ADDR_SIZE, table, input, faultClass);
    if ((low & ACCESS_FLAG) === 0 && table.checksAccessFlag && !table.setsAccessFlag)
      return this.#refuse(eventIds.F_ACCESS, table, input, faultClass);
    this.level = level;
    this.sizeBits = sizeOf(table, level, high);
    this.target = output - offsetInBlock(output, this.sizeBits);
    if (table.stage === 1) this.#stage1Attributes(table, low);
    else this.#stage2Attributes(low);
    this.isClean = table.marksWrites && (high & DIRTY_MODIFIER) !== 0 && this.#lacksWriteAlone(table, low);
    // Of a contiguous range, each descriptor is marked for itself.
    if (table.marksWrites && (high & DIRTY_MODIFIER) !== 0) this.#narrow(table, output);
    return true;
  }

  #narrow({ shape }: TranslationTable, output: number): void {
    this.sizeBits = shape.levelBits[this.level] as number;
    this.target = output - offsetInBlock(output, this.sizeBits);
  }

  /** Whether nothing but the leaf's own bit keeps a write out. */
  #lacksWriteAlone(table: TranslationTable, low: number): boolean {
    if (table.stage === 2) return (low & S2AP_WRITE) === 0;
    const isTaken = table.hierarchical && (this.#apTable & APTABLE_READ_ONLY) !== 0;
    return (low & AP_READ_ONLY) !== 0 && !isTaken && this.permissions !== 0;
  }

  /**
   * Hardware update of access flag and dirty state (Arm IHI 0070, 3.13): sets the flag, and for a write makes a clean leaf
   * writable, before the access is made.
   * @param low the leaf's lower half as it was read; nothing comes in between
   */
  #update(
    table: TranslationTable,
    place: number,
    stage2: Stage2 | undefined,
    faultClass: number,
    permission: number,
    low: number,
  ): boolean {
    const isMarked = this.isClean && permission === WRITE;
    const flag = table.setsAccessFlag ? ACCESS_FLAG : 0;
    const marked = isMarked ? (table.stage === 1 ? low & ~AP_READ_ONLY : low | S2AP_WRITE) : low;
    const updated = marked | flag;
    if (updated === low) return true;
    const address = stage2 === undefined ? place : stage2.locate(place, eventClasses.TT, WRITE);
    if (address < 0) return false;
    if (!this.#memory.write32(address, updated)) return this.#aborted(table, address, faultClass);
    if (isMarked) this.permissions |= WRITE;
    this.isClean = this.isClean && !isMarked;
    return true;
  }

  #stage1Attributes(table: TranslationTable, low: number): void {
    const taken = table.hierarchical ? this.#apTable : 0;
    const isUnprivileged = (low & AP_UNPRIVILEGED) !== 0 && (taken & APTABLE_NO_UNPRIVILEGED) === 0;
    const isReadOnly = (low & AP_READ_ONLY) !== 0 || (taken & APTABLE_READ_ONLY) !== 0;
    if (table.checksUnprivileged && !isUnprivileged) this.permissions = 0;
    else this.permissions = isReadOnly ? READ : READ | WRITE;
    this.isGlobal = (low & NOT_GLOBAL) === 0;
    this.isDevice = false;
  }

  #stage2Attributes(low: number): void {
    this.permissions = ((low & S2AP_READ) === 0 ? 0 : READ) | ((low & S2AP_WRITE) === 0 ? 0 : WRITE);
    this.isGlobal = false;
    this.isDevice = (low & STAGE_2_MEMORY_TYPE) === 0;
  }

  #refuse(event: number, table: TranslationTable, input: number, faultClass: number): false {
    // What stage 1 stumbles over is always the input address (Arm IHI 0070, 7.3.13).
    this.#fault.set(event, table.stage, table.stage === 1 ? eventClasses.IN : faultClass);
    if (table.stage === 2) this.#fault.intermediateAddress = input;
    return false;
  }

  #aborted(table: TranslationTable, address: number, faultClass: number): false {
    this.#fault.set(eventIds.F_WALK_EABT, table.stage, table.stage === 1 ? eventClasses.TT : faultClass);
    this.#fault.fetchAddress = address;
    return false;
  }
}

function updates({ setsAccessFlag, marksWrites }: TranslationTable): boolean {
  return setsAccessFlag || marksWrites;
}

function addressIn({ shape, wideOutput }: TranslationTable, low: number, high: number): number {
  return descriptorAddress(low, high, shape.pageBits, wideOutput);
}

function isLeafAllowed({ shape, wideOutput }: TranslationTable, level: number, low: number): boolean {
  if (level === LAST_LEVEL) return (low & TABLE_OR_PAGE) !== 0;
  // Blocks of 4 TiB came with the 52-bit addresses.
  return shape.leaves[level] === true && (shape.pageBits !== 16 || level > 1 || wideOutput);
}

function sizeOf({ shape, inputBits }: TranslationTable, level: number, high: number): number {
  const bits = shape.levelBits[level] as number;
  if ((high & CONTIGUOUS) === 0) return bits;
  const range = bits + (shape.contiguousBits[level] as number);
  return range > inputBits ? bits : range;
}
