import { IospanError } from "../errors.js";
import { hex, type IovaRange } from "../iova.js";
import type { Machine } from "../machine/machine.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import type { Region } from "../vfio/region.js";
import type { Interfaces } from "./interfaces.js";
import { IovaAllocator } from "./iova-allocator.js";
import { during, Ledger, type MappingRecord } from "./ledger.js";
import type { SpaceLimits } from "./limits.js";
import { mapEverywhere, type Reach, unmapEverywhere, unmapFrom } from "./map-everywhere.js";
import { type MapOptions, partOf, takeIova, wantedAccess } from "./map-request.js";
import type { MappingSource } from "./mapping-source.js";
import { PeerRegion, registersGone, requirePeer } from "./peer-region.js";
import { requirePeerToPeer } from "./peer-to-peer.js";
import { inconsistent } from "./rollback.js";
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

  get recentlyUnmapped(): readonly IovaRange[] {
    return this.#ledger.recentlyDeleted;
  }

  has(record: MappingRecord): boolean {
    return this.#ledger.has(record);
  }

  mapNow(memory: MappingSource, wish: MapWish): MappingRecord {
    const { record, reaches } = this.#begin(memory, wish);
    try {
      runNow(mapEverywhere(record, reaches));
    } catch (error) {
      throw this.#abandon(record, error);
    }
    this.#ledger.add(record);
    return record;
  }

  async mapLater(memory: MappingSource, wish: MapWish): Promise<MappingRecord> {
    const { record, reaches } = this.#begin(memory, wish);
    try {
      await runLater(mapEverywhere(record, reaches));
    } catch (error) {
      throw this.#abandon(record, error);
    }
    this.#ledger.add(record);
    return record;
  }

  /**
   * Maps registers of a device, of this space or another, by whichever way there is.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` where there is none, `ERR_IOSPAN_RELEASED` when the device was closed.
   */
  async mapRegion(region: Region, wish: MapOptions, machine: Machine): Promise<MappingRecord> {
    const peer = this.#openPeer(region, wish, machine);
    return peer.during(async () => {
      const record = await this.#mapPeer(peer, wish);
      if (peer.ended) throw withFailures(registersGone(region.name), this.endNow(record));
      return record;
    });
  }

  /**
   * Unmaps from wherever it can be, whatever else goes on, since what is mapped goes. Nothing that failed is undone: it is
   * noted as broken, keeps IOVA and registers, and is tried again when the space is closed.
   * @returns what went wrong.
   */
  endNow(record: MappingRecord): readonly unknown[] {
    if (!this.has(record)) return [];
    const short: Error[] = [];
    const steps = this.#interfaces.targetsWith(record).map((target) => () => short.push(...unmapFrom(target, record)));
    const failures = failuresOf(...steps);
    this.#ledger.delete(record);
    if (failures.length > 0) {
      this.#limbo.push(record);
      this.noteBroken(inconsistent(`ending ${hex(record.iova)}`, "its device was closed", failures));
      return [...failures, ...short];
    }
    this.#letGo(record);
    return [...short, ...failuresOf(() => record.memory.release())];
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
    const underWay = this.#leaving.get(record) ?? during(record, () => this.#unmapLater(record));
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
    const failures = this.records.flatMap((record) => this.#unmapWherever(record));
    for (const record of this.#limbo.splice(0)) {
      const failed = this.#unmapWherever(record);
      // A device cannot be closed for good while somebody has its registers.
      if (failed.length === 0 && record.memory.ended) failures.push(...discard(record));
      else this.#limbo.push(record);
      failures.push(...failed);
    }
    return failures;
  }

  /** Forgets every mapping and lets go of the memory, once no IOMMU can have them any more. @returns what failed. */
  releaseAll(): readonly unknown[] {
    return [...this.records, ...this.#limbo.splice(0)].flatMap((record) => {
      this.#ledger.delete(record);
      return discard(record);
    });
  }

  #unmapWherever({ access, iova, size }: MappingRecord): readonly unknown[] {
    const targets = this.#interfaces.reaches(access).map(({ target }) => target);
    return failuresOf(...targets.map((target) => () => target.unmap(iova, size)));
  }

  async #mapPeer(peer: PeerRegion, wish: MapOptions): Promise<MappingRecord> {
    try {
      const record = await this.mapLater(peer, { ...wish, offset: 0, size: peer.size, ownsMemory: true });
      peer.mapped(record, () => this.endNow(record));
      return record;
    } catch (error) {
      // What could not be undone may still be reached: then the registers stay held until the space is closed.
      if (isInconsistent(error)) throw error;
      const failures = failuresOf(() => peer.release());
      throw withFailures(peer.ended ? registersGone(peer.region.name, error) : error, failures);
    }
  }

  #openPeer(region: Region, wish: MapOptions, machine: Machine): PeerRegion {
    const access = wantedAccess(wish);
    requirePeer(region, machine, access);
    const { granule } = this.#interfaces.limits;
    const { address, size } = partOf({ address: 0n, size: region.size }, wish, granule);
    const targets = this.#interfaces.reaches(access).map(({ target }) => target);
    const mechanism = requirePeerToPeer(region, targets);
    return PeerRegion.open(region, { offset: Number(address), size }, mechanism, granule);
  }

  #begin(memory: MappingSource, wish: MapWish): { record: MappingRecord; reaches: readonly Reach[] } {
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

/** Lets go of what was mapped. @returns what failed. */
function discard({ memory, ownsMemory }: MappingRecord): readonly unknown[] {
  memory.unretain();
  return failuresOf(() => ownsMemory && memory.release());
}

function isInconsistent(error: unknown): error is IospanError {
  return error instanceof IospanError && error.code === "ERR_IOSPAN_INCONSISTENT";
}
