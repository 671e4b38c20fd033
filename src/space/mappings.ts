import { IospanError } from "../errors.js";
import type { DmaMemory } from "./dma-memory.js";
import type { Interfaces } from "./interfaces.js";
import { IovaAllocator } from "./iova-allocator.js";
import { Ledger, type MappingRecord } from "./ledger.js";
import type { SpaceLimits } from "./limits.js";
import { mapEverywhere, type Reach, unmapEverywhere } from "./map-everywhere.js";
import { type MapOptions, partOf, takeIova, wantedAccess } from "./map-request.js";
import { runLater, runNow } from "./steps.js";

/** A wish for a mapping, by the space or by its user. */
export interface MapWish extends MapOptions {
  /** The memory is the mapping's own and goes with the space. */
  readonly ownsMemory?: boolean;
}

/**
 * What is mapped: the ledger, the IOVAs it takes, and the way mappings come and go as a whole.
 * When operations run is the gate's business, not looked at here.
 */
export class Mappings {
  readonly #interfaces: Interfaces;
  readonly #allocator: IovaAllocator;
  readonly #ledger = new Ledger();
  readonly #leaving = new Map<MappingRecord, Promise<void>>();
  /** Mappings that could be neither completed nor undone: they keep their IOVAs until the space is closed. */
  readonly #limbo: MappingRecord[] = [];
  #broken: IospanError | undefined;

  constructor(interfaces: Interfaces, pageSize: number) {
    this.#interfaces = interfaces;
    this.#allocator = new IovaAllocator(interfaces.limits.iovaRanges.ranges, pageSize);
  }

  /** The failure that could not be undone. */
  get broken(): IospanError | undefined {
    return this.#broken;
  }

  /** Ascending by IOVA. */
  get records(): readonly MappingRecord[] {
    return this.#ledger.sorted();
  }

  has(record: MappingRecord): boolean {
    return this.#ledger.has(record);
  }

  mapNow(memory: DmaMemory, wish: MapWish): MappingRecord {
    const { record, reaches } = this.#begin(memory, wish);
    try {
      runNow(mapEverywhere(record, reaches));
    } catch (error) {
      throw this.#abandon(record, error);
    }
    this.#ledger.add(record);
    return record;
  }

  async mapLater(memory: DmaMemory, wish: MapWish): Promise<MappingRecord> {
    const { record, reaches } = this.#begin(memory, wish);
    try {
      await runLater(mapEverywhere(record, reaches));
    } catch (error) {
      throw this.#abandon(record, error);
    }
    this.#ledger.add(record);
    return record;
  }

  unmapNow(record: MappingRecord): void {
    if (!this.has(record)) return;
    if (this.#leaving.has(record)) {
      throw new IospanError("ERR_IOSPAN_BUSY", "the mapping is being unmapped", { hint: "await its unmap()" });
    }
    try {
      this.#end(record, runNow(unmapEverywhere(record, this.#interfaces.reaches(record.access))));
    } catch (error) {
      throw this.noteBroken(error);
    }
  }

  /** Two at once for the same mapping are one. */
  async unmapLater(record: MappingRecord): Promise<void> {
    if (!this.has(record)) return;
    const underWay = this.#leaving.get(record) ?? this.#unmapLater(record);
    this.#leaving.set(record, underWay);
    try {
      await underWay;
    } finally {
      this.#leaving.delete(record);
    }
  }

  /** Takes over limits that every mapping is known to keep to. */
  adopt(limits: SpaceLimits): void {
    const before = this.#allocator.pageSize;
    this.#allocator.setPageSize(limits.granule);
    try {
      this.#allocator.setRanges(limits.iovaRanges.ranges);
    } catch (error) {
      this.#allocator.setPageSize(before);
      throw error;
    }
  }

  /** Remembers a failure that left IOMMUs disagreeing. @returns the error it was given. */
  noteBroken(error: unknown): unknown {
    if (isInconsistent(error)) this.#broken ??= error;
    return error;
  }

  /** Unmaps everything that can be, whatever fails on the way. @returns what failed. */
  unmapAll(): readonly unknown[] {
    const failures: unknown[] = [];
    for (const record of [...this.records, ...this.#limbo]) {
      for (const { target } of this.#interfaces.reaches(record.access)) {
        try {
          target.unmap(record.iova, record.size);
        } catch (error) {
          failures.push(error);
        }
      }
    }
    return failures;
  }

  /** Forgets every mapping and lets go of the memory, once no IOMMU can have them any more. @returns what failed. */
  releaseAll(): readonly unknown[] {
    const failures: unknown[] = [];
    for (const record of [...this.records, ...this.#limbo.splice(0)]) {
      this.#ledger.delete(record);
      record.memory.unretain();
      try {
        if (record.ownsMemory) record.memory.release();
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }

  #begin(memory: DmaMemory, wish: MapWish): { record: MappingRecord; reaches: readonly Reach[] } {
    const access = wantedAccess(wish);
    const reaches = this.#interfaces.reaches(access);
    if (reaches.length === 0) {
      throw new IospanError("ERR_IOSPAN_NO_DEVICE", "the space has no interface to map for", { hint: "attach() one" });
    }
    const { limits } = this.#interfaces;
    const part = partOf(memory, wish, limits.granule);
    memory.retain();
    try {
      const iova = takeIova(this.#allocator, limits, part, wish.iova);
      return { record: { iova, ...part, memory, access, ownsMemory: wish.ownsMemory ?? false }, reaches };
    } catch (error) {
      memory.unretain();
      throw error;
    }
  }

  #abandon(record: MappingRecord, error: unknown): unknown {
    if (isInconsistent(error)) this.#limbo.push(record);
    else this.#letGo(record);
    return this.noteBroken(error);
  }

  async #unmapLater(record: MappingRecord): Promise<void> {
    try {
      this.#end(record, await runLater(unmapEverywhere(record, this.#interfaces.reaches(record.access))));
    } catch (error) {
      throw this.noteBroken(error);
    }
  }

  #end(record: MappingRecord, short: readonly Error[]): void {
    this.#ledger.delete(record);
    this.#letGo(record);
    if (record.ownsMemory) record.memory.release();
    if (short[0] !== undefined) throw short[0];
  }

  #letGo(record: MappingRecord): void {
    this.#allocator.release(record.iova);
    record.memory.unretain();
  }
}

function isInconsistent(error: unknown): error is IospanError {
  return error instanceof IospanError && error.code === "ERR_IOSPAN_INCONSISTENT";
}
