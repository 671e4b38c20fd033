import type { PhysicalMemory } from "../physical-memory.js";
import { bytesToWords } from "./bit-fields.js";
import { contextConfiguration, type Stage1Configuration } from "./context-configuration.js";
import { contextDescriptor, contextTableLink } from "./context-descriptor.js";
import type { Epoch } from "./epoch.js";
import { eventClasses, eventIds } from "./events.js";
import type { Fault } from "./fault.js";
import type { StreamRules } from "./stream-configuration.js";
import { type ContextSource, type StreamConfiguration, streamConfiguration } from "./stream-configuration.js";
import type { StreamTable } from "./stream-table.js";
import type { Stage2 } from "./table-walker.js";

/** A stream whose STE was fetched. */
export interface CachedStream {
  readonly configuration: StreamConfiguration;
  /** Its CD, once that was fetched, too; "bad" where the CD is invalid. */
  stage1: Stage1Configuration | "bad" | undefined;
}

/**
 * Holds STEs and CDs, also invalid ones, from their first use until CMD_CFGI_* names them. A CD is held with the stream it was
 * fetched for, and goes with its STE (Arm IHI 0070, 4.3).
 */
export class ConfigurationCache {
  readonly #memory: PhysicalMemory;
  readonly #table: StreamTable;
  readonly #rules: () => StreamRules;
  readonly #fault: Fault;
  readonly #epoch: Epoch;
  readonly #streams = new Map<number, CachedStream>();
  /** What the last access needed: the next one is often by the same stream. */
  #lastId = 0;
  #last: CachedStream | undefined;

  constructor(memory: PhysicalMemory, table: StreamTable, rules: () => StreamRules, fault: Fault, epoch: Epoch) {
    this.#memory = memory;
    this.#table = table;
    this.#rules = rules;
    this.#fault = fault;
    this.#epoch = epoch;
  }

  /** The configuration of a stream; undefined, with the fault set, when there is no STE to be had. */
  stream(streamId: number): CachedStream | undefined {
    if (streamId === this.#lastId && this.#last !== undefined) return this.#last;
    const stream = this.#streams.get(streamId) ?? this.#fetchStream(streamId);
    this.#lastId = streamId;
    this.#last = stream;
    return stream;
  }

  #fetchStream(streamId: number): CachedStream | undefined {
    const address = this.#table.locate(streamId, this.#fault);
    if (address < 0) return undefined;
    const bytes = new Uint8Array(64);
    if (!this.#memory.read(address, bytes)) {
      this.#fault.set(eventIds.F_STE_FETCH);
      this.#fault.fetchAddress = address;
      return undefined;
    }
    const configuration = streamConfiguration(bytesToWords(bytes), this.#rules());
    const stream: CachedStream = { configuration, stage1: undefined };
    this.#streams.set(streamId, stream);
    return stream;
  }

  /**
   * Stage 1 of a stream.
   * @param stage2 if the CD's address is an intermediate one
   * @returns undefined with the fault set when there is no valid CD
   */
  stage1(stream: CachedStream, source: ContextSource, stage2: Stage2 | undefined): Stage1Configuration | undefined {
    if (stream.stage1 === undefined) {
      const address = source.isTwoLevel ? this.#leafOfContexts(source, stage2) : source.address;
      if (address < 0) return undefined;
      const words = this.#fetch(address, contextDescriptor.size, stage2);
      if (words === undefined) return undefined;
      stream.stage1 = contextConfiguration(words, source, this.#rules().features) ?? "bad";
    }
    if (stream.stage1 !== "bad") return stream.stage1;
    this.#fault.set(eventIds.C_BAD_CD);
    return undefined;
  }

  /** CMD_CFGI_STE and, for 2^`bits` StreamIDs, CMD_CFGI_STE_RANGE. */
  forgetStreams(streamId: number, bits: number): void {
    this.#epoch.value++;
    this.#last = undefined;
    const first = Math.floor(streamId / 2 ** bits) * 2 ** bits;
    if (bits === 0) this.#streams.delete(first);
    else for (const id of this.#streams.keys()) if (id >= first && id < first + 2 ** bits) this.#streams.delete(id);
  }

  /** CMD_CFGI_CD and CMD_CFGI_CD_ALL. Only the CD at index 0 is ever fetched. */
  forgetContext(streamId: number): void {
    this.#epoch.value++;
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) stream.stage1 = undefined;
  }

  /** Where the CD at index 0 is, behind the first entry of the first level. */
  #leafOfContexts({ address }: ContextSource, stage2: Stage2 | undefined): number {
    const words = this.#fetch(address, contextTableLink.size, stage2);
    if (words === undefined) return -1;
    const { V, L2Ptr } = contextTableLink.decode(words);
    if (V === 1) return L2Ptr;
    this.#fault.set(eventIds.C_BAD_SUBSTREAMID);
    return -1;
  }

  #fetch(address: number, size: number, stage2: Stage2 | undefined): bigint[] | undefined {
    const physical = stage2 === undefined ? address : stage2.locate(address, eventClasses.CD);
    if (physical < 0) return undefined;
    const bytes = new Uint8Array(size);
    if (this.#memory.read(physical, bytes)) return bytesToWords(bytes);
    this.#fault.set(eventIds.F_CD_FETCH);
    this.#fault.fetchAddress = physical;
    return undefined;
  }
}
