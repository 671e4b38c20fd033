import {
  descriptorAddress,
  descriptorAddressHigh,
  descriptorAddressLow,
  LAST_LEVEL,
  tableDescriptor,
} from "../../hw/smmu/page-descriptor.js";
import { refuse } from "../refusal.js";
import type { CoherentMemory, SharedMemory } from "./coherent-memory.js";
import type { DmaProtection } from "./iommu.js";
import { cleaned, isDirty, type LeafAttributes, leafAttributes } from "./leaf-attributes.js";
import type { TableGeometry } from "./table-geometry.js";

/** What changes in a page table have to be followed by. */
export interface TableWatcher {
  /** A table that covers this range is no longer pointed to. When this returns, no walk is in it any more. */
  unlinked(iova: number, size: number): void;
}

/** What {@link PageTable.visit} shows: a page or block. Ends the visit by returning false. */
export type LeafVisitor = (iova: number, size: number, physicalAddress: number, entry: LeafAttributes) => boolean;

/** What is shown of a leaf inside: where its entry lies. */
type EntryVisitor = (iova: number, size: number, table: SharedMemory, index: number) => boolean;

const VALID = 2 ** tableDescriptor.fields.Valid.low;
const TABLE_TYPE = 2 ** tableDescriptor.fields.Type.low;
const TABLE = VALID | TABLE_TYPE;
/** Entries have two halves of 32 bits. */
const HALVES = 2;

/**
 * Page tables of a domain, as they lie in memory (drivers/iommu/io-pgtable-arm.c). Tables come when they are needed, and go
 * with the whole, or when something of their size takes their place or is unmapped.
 */
export class PageTable {
  readonly geometry: TableGeometry;
  /** Whether entries have addresses of more than 48 bits. */
  readonly #wide: boolean;
  readonly #memory: CoherentMemory;
  readonly #watcher: TableWatcher;
  readonly #tracksWrites: boolean;
  readonly #first: SharedMemory;
  /** All but the first, by address: the kernel's way from an entry to where it can read what the entry points to. */
  readonly #tables = new Map<number, SharedMemory>();

  /** Refuses with ENOMEM. @param tracksWrites entries say whether pages were written to */
  constructor(geometry: TableGeometry, memory: CoherentMemory, watcher: TableWatcher, tracksWrites: boolean) {
    this.#tracksWrites = tracksWrites;
    this.geometry = geometry;
    this.#wide = geometry.granule === 65536 && geometry.outputBits > 48;
    this.#memory = memory;
    this.#watcher = watcher;
    // A first table of less than 64 bytes is still aligned to 64 (arm_lpae_alloc_pgtable, __arm_lpae_alloc_pages).
    this.#first = memory.allocate(Math.max(64, geometry.firstEntries * 8));
  }

  /** Where the first table is. */
  get address(): number {
    return this.#first.address;
  }

  /**
   * Makes `count` entries of `size` bytes, as far as the table that the first one is in reaches. Refused with EEXIST where a
   * page or block is, with nothing changed.
   * @returns how many it made
   */
  map(iova: number, physicalAddress: number, size: number, count: number, protection: DmaProtection): number {
    const level = this.#levelOf(size);
    const table = this.#reach(iova, level);
    const index = this.#index(iova, level);
    const made = Math.min(count, this.#entriesLeft(index, level));
    this.#makeRoom(table, index, made, level, iova);
    this.#fill(
      table,
      index,
      made,
      physicalAddress,
      size,
      leafAttributes(this.geometry.stage, protection, level === LAST_LEVEL, this.#tracksWrites),
    );
    return made;
  }

  /**
   * Clears `count` entries of `size` bytes, as far as the table that the first one is in reaches and up to the first hole.
   * A table among them goes with all that is below. A part of a block is not unmapped.
   * @returns how many it cleared
   */
  unmap(iova: number, size: number, count: number): number {
    const level = this.#levelOf(size);
    const table = this.#find(iova, level);
    if (table === undefined) return 0;
    const first = this.#index(iova, level);
    const end = first + Math.min(count, this.#entriesLeft(first, level));
    let index = first;
    for (; index < end; index++) {
      const low = table.halves[HALVES * index] as number;
      if ((low & VALID) === 0) break;
      if (isTable(low, level)) this.#unlink(table, index, level, iova + (index - first) * size);
    }
    table.halves.fill(0, HALVES * first, HALVES * index);
    return index - first;
  }

  /** Where an address goes; undefined when it is not mapped. */
  translate(iova: number): number | undefined {
    let found: number | undefined;
    this.visit(iova, iova + 1, (start, _size, physicalAddress) => {
      found = physicalAddress + iova - start;
      return false;
    });
    return found;
  }

  /** Shows the pages and blocks that reach into [start, end), by IOVA. */
  visit(start: number, end: number, visitor: LeafVisitor): void {
    this.#visitAll(start, end, (iova, size, table, index) => {
      const { low, high } = entryOf(table, index);
      return visitor(iova, size, this.#address(table, index), { low, high });
    });
  }

  /**
   * Shows the pages and blocks in [start, end) that were written to since they were mapped, or last looked at with `clear`
   * (arm_lpae_read_and_clear_dirty).
   * @param clear have them marked again when they are written to again
   */
  visitDirty(start: number, end: number, clear: boolean, visitor: (iova: number, size: number) => void): void {
    this.#visitAll(start, end, (iova, size, table, index) => {
      const { low, high } = entryOf(table, index);
      if (!isDirty(low, high)) return true;
      visitor(iova, size);
      if (clear) table.halves[HALVES * index] = cleaned(low);
      return true;
    });
  }

  /** Gives all its memory back. */
  free(): void {
    for (const table of this.#tables.values()) this.#memory.free(table);
    this.#tables.clear();
    this.#memory.free(this.#first);
  }

  #visitAll(start: number, end: number, visitor: EntryVisitor): void {
    const limit = Math.min(end, 2 ** this.geometry.inputBits);
    this.#visit(this.#first, this.geometry.firstLevel, 0, start, limit, visitor);
  }

  #visit(table: SharedMemory, level: number, base: number, start: number, end: number, visitor: EntryVisitor): boolean {
    const size = 2 ** (this.geometry.levelBits[level] as number);
    const from = Math.max(0, Math.floor((start - base) / size));
    const to = Math.min(this.#entriesOf(level), Math.ceil((end - base) / size));
    for (let index = from; index < to; index++) {
      const low = table.halves[HALVES * index] as number;
      if ((low & VALID) === 0) continue;
      const iova = base + index * size;
      const goesOn = isTable(low, level)
        ? this.#visit(this.#below(table, index), level + 1, iova, start, end, visitor)
        : visitor(iova, size, table, index);
      if (!goesOn) return false;
    }
    return true;
  }

  /** The table of this level that has the entry for an address; those on the way are made. */
  #reach(iova: number, level: number): SharedMemory {
    let table = this.#first;
    for (let at = this.geometry.firstLevel; at < level; at++) {
      const index = this.#index(iova, at);
      const low = table.halves[HALVES * index] as number;
      if ((low & VALID) === 0) this.#link(table, index);
      else if (!isTable(low, at)) refuse("EEXIST");
      table = this.#below(table, index);
    }
    return table;
  }

  /** The table of this level that has the entry for an address; undefined where none is, or a larger block. */
  #find(iova: number, level: number): SharedMemory | undefined {
    let table = this.#first;
    for (let at = this.geometry.firstLevel; at < level; at++) {
      const index = this.#index(iova, at);
      const low = table.halves[HALVES * index] as number;
      if ((low & VALID) === 0 || !isTable(low, at)) return undefined;
      table = this.#below(table, index);
    }
    return table;
  }

  #link(table: SharedMemory, index: number): void {
    const below = this.#memory.allocate(this.geometry.granule);
    this.#tables.set(below.address, below);
    table.halves[HALVES * index + 1] = descriptorAddressHigh(below.address);
    table.halves[HALVES * index] = descriptorAddressLow(below.address) | TABLE;
  }

  /** Checks entries that are to be made. Where a table is that nobody needs any more, it goes. */
  #makeRoom(table: SharedMemory, first: number, count: number, level: number, iova: number): void {
    const size = 2 ** (this.geometry.levelBits[level] as number);
    for (let index = first; index < first + count; index++) {
      const low = table.halves[HALVES * index] as number;
      if ((low & VALID) === 0) continue;
      if (!isTable(low, level)) refuse("EEXIST");
      this.#unlink(table, index, level, iova + (index - first) * size);
    }
  }

  #fill(
    table: SharedMemory,
    first: number,
    count: number,
    start: number,
    size: number,
    attributes: LeafAttributes,
  ): void {
    const { halves } = table;
    const { low, high } = attributes;
    let address = start;
    for (let index = HALVES * first; index < HALVES * (first + count); index += HALVES) {
      halves[index + 1] = descriptorAddressHigh(address) | high;
      halves[index] = descriptorAddressLow(address) | low;
      address += size;
    }
  }

  /** Takes a table out, and frees it when no walk can be in it any more. */
  #unlink(table: SharedMemory, index: number, level: number, iova: number): void {
    const below = this.#below(table, index);
    table.halves[HALVES * index] = 0;
    table.halves[HALVES * index + 1] = 0;
    this.#watcher.unlinked(iova, 2 ** (this.geometry.levelBits[level] as number));
    this.#freeTables(below, level + 1);
  }

  #freeTables(table: SharedMemory, level: number): void {
    if (level < LAST_LEVEL) {
      for (let index = 0; index < this.#entriesOf(level); index++) {
        const low = table.halves[HALVES * index] as number;
        if ((low & VALID) !== 0 && isTable(low, level)) this.#freeTables(this.#below(table, index), level + 1);
      }
    }
    this.#tables.delete(table.address);
    this.#memory.free(table);
  }

  #below(table: SharedMemory, index: number): SharedMemory {
    const address = this.#address(table, index);
    const below = this.#tables.get(address);
    if (below === undefined)
      throw new Error(`a page table entry points to 0x${address.toString(16)}, where no table is`);
    return below;
  }

  #address({ halves }: SharedMemory, index: number): number {
    return descriptorAddress(
      halves[HALVES * index] as number,
      halves[HALVES * index + 1] as number,
      this.geometry.pageBits,
      this.#wide,
    );
  }

  #levelOf(size: number): number {
    return this.geometry.levelBits.indexOf(Math.log2(size));
  }

  #index(iova: number, level: number): number {
    const index = Math.floor(iova / 2 ** (this.geometry.levelBits[level] as number));
    return level === this.geometry.firstLevel ? index : index % this.#entriesOf(level);
  }

  #entriesOf(level: number): number {
    return level === this.geometry.firstLevel ? this.geometry.firstEntries : 2 ** this.geometry.indexBits;
  }

  /** Up to the end of its table. Of several first tables side by side, each counts for itself. */
  #entriesLeft(index: number, level: number): number {
    const perTable = Math.min(this.#entriesOf(level), 2 ** this.geometry.indexBits);
    return perTable - (index % perTable);
  }
}

function entryOf({ halves }: SharedMemory, index: number): LeafAttributes {
  return { low: halves[HALVES * index] as number, high: halves[HALVES * index + 1] as number };
}

function isTable(low: number, level: number): boolean {
  return level < LAST_LEVEL && (low & TABLE_TYPE) !== 0;
}
