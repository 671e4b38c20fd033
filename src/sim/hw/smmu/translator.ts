import type { PhysicalMemory } from "../physical-memory.js";
import type { CachedStream, ConfigurationCache } from "./configuration-cache.js";
import type { AddressHalf, Stage1Configuration } from "./context-configuration.js";
import type { Counters } from "./counters.js";
import { eventClasses, eventIds } from "./events.js";
import type { Fault } from "./fault.js";
import { offsetInBlock, powers } from "./powers-of-two.js";
import { LOW_ADDRESS_LIMIT, UPPER_HALF } from "./regimes.js";
import type { ContextSource, Stage2Configuration } from "./stream-configuration.js";
import { READ, type Stage2, TableWalker, WRITE } from "./table-walker.js";
import { GLOBAL, NO_ASID, STAGE_2_SHIFT, type Tlb, type TlbEntry } from "./tlb.js";
import type { TranslationTable } from "./translation-table.js";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Address bits 55 and 63 to 52, in a number that has bits 63 to 52. */
const BIT_55 = 1 << 3;
const TOP_BITS = 0xfff;
const BELOW_TOP_BYTE = 0xf;
const MISS = -1;

/** Translates by the configuration of a stream: TLB, and table walks where it misses (Arm IHI 0070, 3.3 and 3.4). */
export class Translator {
  /** Whether the TLB had the last translation. */
  wasHit = false;
  readonly #tlb: Tlb;
  readonly #configurations: ConfigurationCache;
  readonly #fault: Fault;
  readonly #counters: Counters;
  readonly #outputBits: number;
  readonly #walker: TableWalker;
  readonly #stage2: Stage2Lookup;
  readonly #entry: Writable<TlbEntry> = {
    tag: 0,
    asid: 0,
    sizeBits: 0,
    level: 0,
    granuleBits: 0,
    permissions: 0,
    target: 0,
    intermediate: 0,
  };

  constructor(
    memory: PhysicalMemory,
    tlb: Tlb,
    configurations: ConfigurationCache,
    fault: Fault,
    counters: Counters,
    outputBits: number,
  ) {
    this.#tlb = tlb;
    this.#configurations = configurations;
    this.#fault = fault;
    this.#counters = counters;
    this.#outputBits = outputBits;
    this.#walker = new TableWalker(memory, fault, counters);
    this.#stage2 = new Stage2Lookup(new TableWalker(memory, fault, counters), tlb, fault, this.#entry);
  }

  /**
   * @param low address bits 51 to 0
   * @param top address bits 63 to 52
   * @param permission READ or WRITE
   * @returns the TLB's slot that has the translation now; -1 with the fault set
   */
  translate(
    stream: CachedStream,
    context: ContextSource | undefined,
    stage2: Stage2Configuration | undefined,
    low: number,
    top: number,
    permission: number,
  ): number {
    if (stage2 !== undefined) this.#stage2.use(stage2);
    if (context === undefined) return this.#stage2Only(low, top, permission);
    const nested = stage2 === undefined ? undefined : this.#stage2;
    const stage1 = this.#configurations.stage1(stream, context, nested);
    if (stage1 === undefined) return MISS;
    const half = halfOf(stage1, top);
    if (!isCanonical(half, top)) return this.#failStage1(eventIds.F_TRANSLATION, stage1);
    const slot = this.#findUsable(half.tag, stage1.asid, low, permission);
    this.wasHit = slot !== MISS;
    if (!this.wasHit) return this.#fill(stage1, half, low, permission, nested);
    this.#counters.tlbHits++;
    return this.#isPermitted(slot, low, permission, stage1) ? slot : MISS;
  }

  /** An entry of a clean page is of no use to a write, which has to be marked in the tables first. */
  #findUsable(tag: number, asid: number, low: number, permission: number): number {
    const slot = this.#tlb.find(tag, asid, low);
    if (slot === MISS || permission !== WRITE || (this.#tlb.permissionsOf(slot) & CLEAN) === 0) return slot;
    this.#tlb.drop(slot);
    return MISS;
  }

  #stage2Only(low: number, top: number, permission: number): number {
    // Beyond what stage 1, in bypass, can pass on: the one fault of stage 1 that there is without it.
    if (top !== 0 || low >= (powers[this.#outputBits] as number)) {
      this.#fault.set(eventIds.F_ADDR_SIZE);
      return MISS;
    }
    const slot = this.#stage2.translate(low, permission, eventClasses.IN);
    this.wasHit = this.#stage2.wasCached;
    if (this.wasHit) this.#counters.tlbHits++;
    else this.#counters.tlbMisses++;
    return slot;
  }

  /** A hit goes by the permissions of both stages as they were when the entry was made. */
  #isPermitted(slot: number, low: number, permission: number, stage1: Stage1Configuration): boolean {
    const permissions = this.#tlb.permissionsOf(slot);
    if ((permissions & permission) === 0) {
      this.#fault.set(eventIds.F_PERMISSION);
      this.#fault.recorded = stage1.recordsFaults;
      return false;
    }
    if ((permissions & (permission << STAGE_2_SHIFT)) !== 0) return true;
    const intermediate = this.#tlb.intermediateOf(slot) + low - this.#tlb.startOf(slot);
    return this.#stage2.refuse(intermediate, eventClasses.IN);
  }

  #fill(
    stage1: Stage1Configuration,
    half: AddressHalf,
    low: number,
    permission: number,
    nested: Stage2Lookup | undefined,
  ): number {
    this.#counters.tlbMisses++;
    const { table } = half;
    const input = table === undefined ? MISS : inputOf(half, table, low);
    if (table === undefined || input === MISS) return this.#failStage1(eventIds.F_TRANSLATION, stage1);
    if (!this.#walker.walk(table, input, nested, eventClasses.IN, permission)) {
      if (this.#fault.stage === 1) this.#fault.recorded = recordsFault(this.#fault, stage1.recordsFaults);
      return MISS;
    }
    if ((this.#walker.permissions & permission) === 0) return this.#failStage1(eventIds.F_PERMISSION, stage1);
    const output = this.#walker.target + offsetInBlock(input, this.#walker.sizeBits);
    return nested === undefined
      ? this.#insert(stage1, half, table, low, output, MISS)
      : this.#fillNested(stage1, half, table, low, output, permission, nested);
  }

  #fillNested(
    stage1: Stage1Configuration,
    half: AddressHalf,
    table: TranslationTable,
    low: number,
    intermediate: number,
    permission: number,
    nested: Stage2Lookup,
  ): number {
    const slot = nested.translate(intermediate, permission, eventClasses.IN);
    return slot === MISS ? MISS : this.#insert(stage1, half, table, low, intermediate, slot);
  }

  #failStage1(event: number, { recordsFaults }: Stage1Configuration): number {
    this.#fault.set(event);
    this.#fault.recorded = recordsFaults;
    return MISS;
  }

  /**
   * @param output what stage 1 translated `low` to
   * @param stage2Slot the TLB's entry for that
   */
  #insert(
    { asid, hasAsid }: Stage1Configuration,
    { tag }: AddressHalf,
    { shape }: TranslationTable,
    low: number,
    output: number,
    stage2Slot: number,
  ): number {
    const walker = this.#walker;
    const entry = this.#entry;
    const tlb = this.#tlb;
    entry.tag = tag;
    entry.asid = walker.isGlobal && hasAsid ? GLOBAL : asid;
    entry.level = walker.level;
    entry.granuleBits = shape.pageBits;
    if (stage2Slot === MISS) {
      entry.sizeBits = walker.sizeBits;
      entry.permissions = walker.permissions | ((READ | WRITE) << STAGE_2_SHIFT) | (walker.isClean ? CLEAN : 0);
      entry.target = output - offsetInBlock(low, entry.sizeBits);
      entry.intermediate = 0;
    } else {
      entry.sizeBits = Math.min(walker.sizeBits, tlb.sizeBitsOf(stage2Slot));
      const ofStage2 = tlb.permissionsOf(stage2Slot) & (((READ | WRITE) << STAGE_2_SHIFT) | CLEAN);
      entry.permissions = walker.permissions | ofStage2 | (walker.isClean ? CLEAN : 0);
      const offset = offsetInBlock(low, entry.sizeBits);
      entry.target = tlb.targetOf(stage2Slot) + output - tlb.startOf(stage2Slot) - offset;
      entry.intermediate = output - offset;
    }
    return tlb.insert(low, entry);
  }
}

/** Stage 2, for what the stream at hand needs it for. */
class Stage2Lookup implements Stage2 {
  /** Whether the TLB had what was looked for last. */
  wasCached = false;
  readonly #walker: TableWalker;
  readonly #tlb: Tlb;
  readonly #fault: Fault;
  readonly #entry: Writable<TlbEntry>;
  #configuration: Stage2Configuration | undefined;

  constructor(walker: TableWalker, tlb: Tlb, fault: Fault, entry: Writable<TlbEntry>) {
    this.#walker = walker;
    this.#tlb = tlb;
    this.#fault = fault;
    this.#entry = entry;
  }

  use(configuration: Stage2Configuration): void {
    this.#configuration = configuration;
  }

  /** @returns the TLB's slot that has the translation; -1 with the fault set */
  translate(intermediate: number, permission: number, faultClass: number): number {
    const { table, tag, recordsFaults } = this.#configuration as Stage2Configuration;
    let slot = this.#tlb.find(tag, NO_ASID, intermediate);
    if (slot !== MISS && permission === WRITE && (this.#tlb.permissionsOf(slot) & CLEAN) !== 0) {
      this.#tlb.drop(slot);
      slot = MISS;
    }
    this.wasCached = slot !== MISS;
    if (slot !== MISS) {
      const permissions = this.#tlb.permissionsOf(slot);
      if ((permissions & (permission << STAGE_2_SHIFT)) !== 0) return slot;
      this.refuse(intermediate, faultClass);
      return MISS;
    }
    if (intermediate >= (powers[table.inputBits] as number))
      return this.#fail(eventIds.F_TRANSLATION, intermediate, faultClass);
    if (!this.#walker.walk(table, intermediate, undefined, faultClass, permission)) {
      this.#fault.recorded = recordsFault(this.#fault, recordsFaults);
      return MISS;
    }
    if ((this.#walker.permissions & permission) === 0) {
      this.refuse(intermediate, faultClass);
      return MISS;
    }
    return this.#insert(tag, table, intermediate);
  }

  locate(intermediate: number, faultClass: number, permission: number = READ): number {
    const slot = this.translate(intermediate, permission, faultClass);
    if (slot === MISS) return MISS;
    const { protectsWalks } = this.#configuration as Stage2Configuration;
    if (protectsWalks && (this.#tlb.permissionsOf(slot) & DEVICE) !== 0)
      return this.#fail(eventIds.F_PERMISSION, intermediate, faultClass);
    return this.#tlb.targetOf(slot) + intermediate - this.#tlb.startOf(slot);
  }

  /** @returns false with the fault set: stage 2 does not permit it */
  refuse(intermediate: number, faultClass: number): false {
    this.#fail(eventIds.F_PERMISSION, intermediate, faultClass);
    return false;
  }

  #fail(event: number, intermediate: number, faultClass: number): number {
    this.#fault.set(event, 2, faultClass);
    this.#fault.intermediateAddress = intermediate;
    this.#fault.recorded = (this.#configuration as Stage2Configuration).recordsFaults;
    return MISS;
  }

  #insert(tag: number, { shape }: TranslationTable, intermediate: number): number {
    const entry = this.#entry;
    const walker = this.#walker;
    entry.tag = tag;
    entry.asid = NO_ASID;
    entry.sizeBits = walker.sizeBits;
    entry.level = walker.level;
    entry.granuleBits = shape.pageBits;
    const others = (walker.isDevice ? DEVICE : 0) | (walker.isClean ? CLEAN : 0);
    entry.permissions = READ | WRITE | (walker.permissions << STAGE_2_SHIFT) | others;
    entry.target = walker.target;
    entry.intermediate = 0;
    return this.#tlb.insert(intermediate, entry);
  }
}

/** In the permissions of stage 2 entries: memory of a Device type. */
const DEVICE = 1 << 4;
/** In permissions: the tables have to be asked again, and told, before anything is written. */
const CLEAN = 1 << 5;

/** The four faults that CD.R and STE.S2R may silence (Arm IHI 0070, 5.5). */
function recordsFault({ event }: Fault, flag: boolean): boolean {
  return flag || event === eventIds.F_WALK_EABT;
}

function halfOf({ lower, upper }: Stage1Configuration, top: number): AddressHalf {
  return upper !== undefined && (top & BIT_55) !== 0 ? upper : lower;
}

/** Whether the bits above what a TLB looks at are those of the half, as far as TBIx does not have them ignored. */
function isCanonical({ tag, ignoresTopByte }: AddressHalf, top: number): boolean {
  const checked = ignoresTopByte ? BELOW_TOP_BYTE : TOP_BITS;
  return (top & checked) === ((tag & UPPER_HALF) === 0 ? 0 : checked);
}

/** The address as the table counts it; -1 when it is outside. */
function inputOf({ tag }: AddressHalf, { inputBits }: TranslationTable, low: number): number {
  const input = (tag & UPPER_HALF) === 0 ? low : low - (LOW_ADDRESS_LIMIT - (powers[inputBits] as number));
  return input >= 0 && input < (powers[inputBits] as number) ? input : MISS;
}
