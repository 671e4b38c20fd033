import type { Epoch } from "./epoch.js";
import { inversePowers, powers } from "./powers-of-two.js";

/** The ASID of entries that every ASID may use. */
export const GLOBAL = 0x1_0000;
/** The ASID of entries of a regime that has none. */
export const NO_ASID = 0;
/** In {@link TlbScope}: whatever it is. */
export const ANY = -1;

/** What {@link Tlb.insert} takes; it keeps no reference. */
export interface TlbEntry {
  /** Which translation regime: entries of different ones never meet. */
  readonly tag: number;
  /** An ASID, {@link GLOBAL} or {@link NO_ASID}. */
  readonly asid: number;
  /** log2 of the bytes it covers. */
  readonly sizeBits: number;
  /** Of the leaf it came from. */
  readonly level: number;
  /** log2 of the granule of the table it came from. */
  readonly granuleBits: number;
  /** Permissions of stage 1, and of stage 2 shifted by {@link STAGE_2_SHIFT}. */
  readonly permissions: number;
  /** What the first address it covers is translated to. */
  readonly target: number;
  /** Both stages in one: what stage 1 alone would translate the first address to. */
  readonly intermediate: number;
}

/** Which entries an invalidation takes. */
export interface TlbScope {
  /** Compared with the entry's tag under {@link tagMask}. */
  readonly tag: number;
  /** ~0 for one tag. */
  readonly tagMask: number;
  /** {@link ANY}, or one. */
  readonly asid: number;
  /** Whether global entries go, too, where there is one ASID. */
  readonly withGlobal: boolean;
  /** Entries that cover an address in [start, end). */
  readonly start: number;
  readonly end: number;
  /** Only entries from tables of this granule; {@link ANY}. */
  readonly granuleBits: number;
  /** Only entries from leaves of this level; {@link ANY}. */
  readonly level: number;
}

/** Where {@link TlbEntry.permissions} has those of stage 2. */
export const STAGE_2_SHIFT = 2;

const NONE = -1;
/** Splits block numbers, which may have more than 32 bits. */
const HIGH_PART = 2 ** -31;
const SIZES = powers.length;

/**
 * The translation lookaside buffer: holds the translations that were filled in last, whatever their size, each until as
 * many others came after it as it has room for. It knows nothing of the tables in memory: what was changed
 * there and not invalidated here goes on being translated as it was.
 */
export class Tlb {
  // One entry over these arrays; its number is its slot.
  readonly #tags: Int32Array;
  readonly #asids: Int32Array;
  readonly #sizes: Uint8Array;
  readonly #levels: Uint8Array;
  readonly #granules: Uint8Array;
  readonly #permissions: Uint8Array;
  /** Number of the block among those of its size. */
  readonly #blocks: Float64Array;
  readonly #targets: Float64Array;
  readonly #intermediates: Float64Array;
  readonly #hashes: Int32Array;
  /** Next slot with the same hash. */
  readonly #next: Int32Array;
  readonly #isUsed: Uint8Array;
  /** First slot by hash. */
  readonly #heads: Int32Array;
  readonly #hashMask: number;
  readonly #capacity: number;
  /** The slot that is filled next: the oldest. */
  #cursor = 0;
  #count = 0;
  readonly #countBySize = new Int32Array(SIZES);
  readonly #globalsBySize = new Int32Array(SIZES);
  /** The sizes that there are entries of. */
  readonly #sizesInUse = new Uint8Array(SIZES);
  #sizeCount = 0;
  readonly #epoch: Epoch;

  /**
   * @param capacity a power of two
   * @param epoch advances whenever an entry goes
   */
  constructor(capacity: number, epoch: Epoch) {
    this.#capacity = capacity;
    this.#epoch = epoch;
    this.#tags = new Int32Array(capacity);
    this.#asids = new Int32Array(capacity);
    this.#sizes = new Uint8Array(capacity);
    this.#levels = new Uint8Array(capacity);
    this.#granules = new Uint8Array(capacity);
    this.#permissions = new Uint8Array(capacity);
    this.#blocks = new Float64Array(capacity);
    this.#targets = new Float64Array(capacity);
    this.#intermediates = new Float64Array(capacity);
    this.#hashes = new Int32Array(capacity);
    this.#next = new Int32Array(capacity);
    this.#isUsed = new Uint8Array(capacity);
    this.#heads = new Int32Array(capacity * 2).fill(NONE);
    this.#hashMask = capacity * 2 - 1;
  }

  /** Entries that it holds. */
  get size(): number {
    return this.#count;
  }

  /** The slot of the entry that covers an address; -1 without one. */
  find(tag: number, asid: number, address: number): number {
    for (let i = 0; i < this.#sizeCount; i++) {
      const size = this.#sizesInUse[i] as number;
      const block = Math.floor(address * (inversePowers[size] as number));
      const slot = this.#probe(tag, asid, size, block);
      if (slot !== NONE) return slot;
      if ((this.#globalsBySize[size] as number) === 0) continue;
      const shared = this.#probe(tag, GLOBAL, size, block);
      if (shared !== NONE) return shared;
    }
    return NONE;
  }

  /** The first address that the entry in a slot covers. */
  startOf(slot: number): number {
    return (this.#blocks[slot] as number) * (powers[this.#sizes[slot] as number] as number);
  }

  /** log2 of the bytes that it covers. */
  sizeBitsOf(slot: number): number {
    return this.#sizes[slot] as number;
  }

  permissionsOf(slot: number): number {
    return this.#permissions[slot] as number;
  }

  /** What its first address is translated to. */
  targetOf(slot: number): number {
    return this.#targets[slot] as number;
  }

  /** What stage 1 alone translates its first address to. */
  intermediateOf(slot: number): number {
    return this.#intermediates[slot] as number;
  }

  /** Takes in the translation of the block that contains `address`, in place of the oldest. @returns its slot */
  insert(address: number, entry: TlbEntry): number {
    const slot = this.#cursor;
    this.#cursor = (slot + 1) & (this.#capacity - 1);
    if (this.#isUsed[slot] === 1) this.#remove(slot);
    this.#tags[slot] = entry.tag;
    this.#asids[slot] = entry.asid;
    this.#sizes[slot] = entry.sizeBits;
    this.#levels[slot] = entry.level;
    this.#granules[slot] = entry.granuleBits;
    this.#permissions[slot] = entry.permissions;
    this.#targets[slot] = entry.target;
    this.#intermediates[slot] = entry.intermediate;
    const block = Math.floor(address * (inversePowers[entry.sizeBits] as number));
    this.#blocks[slot] = block;
    this.#link(slot, this.#hash(entry.tag, entry.asid, entry.sizeBits, block));
    return slot;
  }

  /** Drops the entry in a slot. */
  drop(slot: number): void {
    this.#remove(slot);
  }

  /** Drops the entries in a scope. */
  invalidate(scope: TlbScope): void {
    if (this.#count === 0) return;
    if (this.#blocksIn(scope) * 2 < this.#count) this.#invalidateByAddress(scope);
    else this.#invalidateAll(scope);
  }

  /** How many places a search by address would look at; infinite where the hash is not known. */
  #blocksIn({ tagMask, asid, start, end }: TlbScope): number {
    if (tagMask !== ~0 || asid === ANY) return Number.POSITIVE_INFINITY;
    let blocks = 0;
    for (let i = 0; i < this.#sizeCount; i++) {
      blocks += (end - start) * (inversePowers[this.#sizesInUse[i] as number] as number) + 1;
    }
    return blocks;
  }

  #invalidateByAddress(scope: TlbScope): void {
    const sizes = this.#sizesInUse.slice(0, this.#sizeCount);
    for (const size of sizes) {
      const last = Math.ceil(scope.end * (inversePowers[size] as number));
      for (let block = Math.floor(scope.start * (inversePowers[size] as number)); block < last; block++) {
        this.#invalidateBlock(scope, scope.asid, size, block);
        if (scope.withGlobal) this.#invalidateBlock(scope, GLOBAL, size, block);
      }
    }
  }

  #invalidateBlock(scope: TlbScope, asid: number, size: number, block: number): void {
    let slot = this.#heads[this.#hash(scope.tag, asid, size, block)] as number;
    while (slot !== NONE) {
      const next = this.#next[slot] as number;
      if (this.#isAt(slot, scope.tag, asid, size, block) && this.#isOfTable(slot, scope)) this.#remove(slot);
      slot = next;
    }
  }

  #invalidateAll(scope: TlbScope): void {
    for (let slot = 0; slot < this.#capacity; slot++) {
      if (this.#isUsed[slot] === 1 && this.#isIn(slot, scope)) this.#remove(slot);
    }
  }

  #isIn(slot: number, scope: TlbScope): boolean {
    if ((((this.#tags[slot] as number) ^ scope.tag) & scope.tagMask) !== 0) return false;
    const asid = this.#asids[slot] as number;
    if (scope.asid !== ANY && asid !== scope.asid && !(scope.withGlobal && asid === GLOBAL)) return false;
    const start = this.startOf(slot);
    const end = start + (powers[this.#sizes[slot] as number] as number);
    return start < scope.end && end > scope.start && this.#isOfTable(slot, scope);
  }

  #isOfTable(slot: number, { granuleBits, level }: TlbScope): boolean {
    return (
      (granuleBits === ANY || granuleBits === this.#granules[slot]) && (level === ANY || level === this.#levels[slot])
    );
  }

  #probe(tag: number, asid: number, size: number, block: number): number {
    let slot = this.#heads[this.#hash(tag, asid, size, block)] as number;
    while (slot !== NONE && !this.#isAt(slot, tag, asid, size, block)) slot = this.#next[slot] as number;
    return slot;
  }

  #isAt(slot: number, tag: number, asid: number, size: number, block: number): boolean {
    return (
      this.#blocks[slot] === block &&
      this.#tags[slot] === tag &&
      this.#asids[slot] === asid &&
      this.#sizes[slot] === size
    );
  }

  #hash(tag: number, asid: number, size: number, block: number): number {
    const high = Math.floor(block * HIGH_PART);
    const mixed = Math.imul((block - high / HIGH_PART) ^ (asid << 14) ^ (tag << 5) ^ size, 0x9e3779b1) + high;
    return (mixed ^ (mixed >>> 15)) & this.#hashMask;
  }

  #link(slot: number, hash: number): void {
    this.#hashes[slot] = hash;
    this.#next[slot] = this.#heads[hash] as number;
    this.#heads[hash] = slot;
    this.#isUsed[slot] = 1;
    this.#count++;
    const size = this.#sizes[slot] as number;
    if (this.#asids[slot] === GLOBAL) this.#globalsBySize[size] = (this.#globalsBySize[size] as number) + 1;
    const count = (this.#countBySize[size] as number) + 1;
    this.#countBySize[size] = count;
    if (count === 1) this.#sizesInUse[this.#sizeCount++] = size;
  }

  #remove(slot: number): void {
    this.#unlink(slot);
    this.#isUsed[slot] = 0;
    this.#count--;
    this.#epoch.value++;
    const size = this.#sizes[slot] as number;
    if (this.#asids[slot] === GLOBAL) this.#globalsBySize[size] = (this.#globalsBySize[size] as number) - 1;
    const count = (this.#countBySize[size] as number) - 1;
    this.#countBySize[size] = count;
    if (count === 0) this.#forgetSize(size);
  }

  #unlink(slot: number): void {
    const hash = this.#hashes[slot] as number;
    const after = this.#next[slot] as number;
    let before = this.#heads[hash] as number;
    if (before === slot) {
      this.#heads[hash] = after;
      return;
    }
    while (this.#next[before] !== slot) before = this.#next[before] as number;
    this.#next[before] = after;
  }

  #forgetSize(size: number): void {
    const at = this.#sizesInUse.indexOf(size);
    this.#sizeCount--;
    this.#sizesInUse.copyWithin(at, at + 1, this.#sizeCount + 1);
  }
}
