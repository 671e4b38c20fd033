/** What an SMMU did since it was built, or since its counters were reset. */
export interface SmmuCounters {
  /** Accesses that came in, whatever became of them. */
  readonly translations: number;
  /** Accesses that the TLB answered. */
  readonly tlbHits: number;
  /** Accesses that needed a table walk. */
  readonly tlbMisses: number;
  /** Table walks of either stage; a nested translation has several. */
  readonly walks: number;
  readonly descriptorReads: number;
  /** Commands consumed. */
  readonly commands: number;
  /** CMD_TLBI_* commands among them. */
  readonly invalidations: number;
  /** CMD_SYNC commands among them. */
  readonly syncs: number;
  /** Event records written. */
  readonly events: number;
  /** Event records for which the queue had no room, or was disabled or broken. */
  readonly lostEvents: number;
}

/** {@link SmmuCounters}, counting. */
export class Counters implements SmmuCounters {
  translations = 0;
  tlbHits = 0;
  tlbMisses = 0;
  walks = 0;
  descriptorReads = 0;
  commands = 0;
  invalidations = 0;
  syncs = 0;
  events = 0;
  lostEvents = 0;

  snapshot(): SmmuCounters {
    return { ...this };
  }

  reset(): void {
    Object.assign(this, new Counters());
  }
}
