import type { Iova, IovaRange } from "../iova.js";
import type { Access } from "../vfio/container.js";
import type { MappingSource } from "./mapping-source.js";

/** One mapping of a space: what the ledger knows of it. */
export interface MappingRecord {
  readonly iova: Iova;
  /** Bytes. */
  readonly size: number;
  /** Where the memory is in this process; of what is mapped as a file, see {@link MappingSource.address}. */
  readonly address: bigint;
  /** What is mapped: memory, or a device's registers. */
  readonly memory: MappingSource;
  /** What every interface may do, or for the interfaces it is limited to, what each of them may. */
  readonly access: Access | ReadonlyMap<string, Access>;
  /** The memory was allocated with the mapping and goes with the space. */
  readonly ownsMemory: boolean;
}

/** The IOVAs of a mapping. */
export function rangeOf({ iova, size }: Pick<MappingRecord, "iova" | "size">): IovaRange {
  return { start: iova, end: (iova + BigInt(size) - 1n) as Iova };
}

/** What a device may do with a mapping; undefined when the mapping does not reach it. */
export function accessOf(record: MappingRecord, interfaceName: string): Access | undefined {
  return typeof record.access === "string" ? record.access : record.access.get(interfaceName);
}

/** Does something with what is mapped, which whoever takes it away waits for. */
export function during<T>({ memory }: MappingRecord, work: () => Promise<T>): Promise<T> {
  return memory.during?.(work) ?? work();
}

/** A device that is late is late by a few mappings, and they hold no memory. */
const RECENT = 64;

/** The mappings that every IOMMU of a space has to have, by IOVA. What is valid or free is the allocator's business. */
export class Ledger {
  readonly #records = new Map<Iova, MappingRecord>();
  readonly #recent: IovaRange[] = [];

  /** Where the last {@link RECENT} mappings were that are gone, the latest last. */
  get recentlyDeleted(): readonly IovaRange[] {
    return [...this.#recent];
  }

  has(record: MappingRecord): boolean {
    return this.#records.get(record.iova) === record;
  }

  add(record: MappingRecord): void {
    this.#records.set(record.iova, record);
  }

  delete(record: MappingRecord): void {
    if (!this.#records.delete(record.iova)) return;
    this.#recent.push(rangeOf(record));
    if (this.#recent.length > RECENT) this.#recent.shift();
  }

  /** Ascending by IOVA. */
  sorted(): readonly MappingRecord[] {
    return [...this.#records.values()].sort((a, b) => (a.iova < b.iova ? -1 : 1));
  }
}
