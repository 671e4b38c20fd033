import { IospanError } from "../../../errors.js";
import type { Granule } from "./page-descriptor.js";
import { addressSizes } from "./registers.js";

/** What an SMMU implements; its ID registers say so. */
export interface SmmuFeatures {
  readonly stage1: boolean;
  readonly stage2: boolean;
  readonly granules: readonly Granule[];
  /** Bits of a physical address (OAS). */
  readonly outputBits: (typeof addressSizes)[number];
  /** Bits of a StreamID. */
  readonly streamIdBits: number;
  readonly twoLevelStreamTable: boolean;
  /** TLBI commands can name ranges (IDR3.RIL). */
  readonly rangeInvalidation: boolean;
  readonly asidBits: 8 | 16;
  readonly vmidBits: 8 | 16;
  /** Table walks see the processor's caches (IDR0.COHACC). */
  readonly coherentWalks: boolean;
  /** log2 of the most entries of the command queue, 0 to 19. */
  readonly commandQueueLog2: number;
  /** log2 of the most entries of the event queue, 0 to 19. */
  readonly eventQueueLog2: number;
  /** Translations that the TLB holds, a power of two. */
  readonly tlbEntries: number;
  /** Stream worlds of EL2, with ASIDs (IDR0.HYP; CR2.E2H can be set). */
  readonly hypervisor: boolean;
  /** Bits of a SubstreamID, of which only 0 comes in; with 0 there are no tables of CDs. */
  readonly substreamIdBits: number;
  /** Queues and CMD_SYNC can signal by a write to memory (IDR0.MSI). */
  readonly msi: boolean;
  /** Input addresses of 52 bits where granules are 64 KiB (IDR5.VAX). */
  readonly largeInput: boolean;
  /** Table walks can set access flags, and mark pages as written to (IDR0.HTTU). */
  readonly updatesTables: boolean;
}

/** A recent SMMU (Arm's MMU-700, roughly) with room for everything that is modelled. */
export const defaultFeatures: SmmuFeatures = {
  stage1: true,
  stage2: true,
  granules: [4096, 16384, 65536],
  outputBits: 48,
  streamIdBits: 16,
  twoLevelStreamTable: true,
  rangeInvalidation: true,
  asidBits: 16,
  vmidBits: 16,
  coherentWalks: true,
  commandQueueLog2: 19,
  eventQueueLog2: 19,
  tlbEntries: 4096,
  hypervisor: false,
  substreamIdBits: 0,
  msi: true,
  largeInput: false,
  updatesTables: false,
};

/**
 * The given features, and {@link defaultFeatures} for the rest.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what no SMMU could be.
 */
export function smmuFeatures(given: Partial<SmmuFeatures>): SmmuFeatures {
  const features = { ...defaultFeatures, ...given };
  const { stage1, stage2, granules, outputBits, streamIdBits, tlbEntries, substreamIdBits, largeInput } = features;
  if (!stage1 && !stage2) throw impossible("neither stage 1 nor stage 2");
  if (granules.length === 0) throw impossible("no translation granule");
  if (!addressSizes.includes(outputBits)) throw impossible(`physical addresses of ${outputBits} bits`);
  if ((outputBits === 52 || largeInput) && !granules.includes(65536))
    throw impossible("52-bit addresses without the 64 KiB granule");
  if (!isWithin(streamIdBits, 0, 32)) throw impossible(`StreamIDs of ${streamIdBits} bits`);
  if (!isWithin(substreamIdBits, 0, 20)) throw impossible(`SubstreamIDs of ${substreamIdBits} bits`);
  if (!isWithin(features.commandQueueLog2, 0, 19)) throw impossible(`2^${features.commandQueueLog2} commands`);
  if (!isWithin(features.eventQueueLog2, 0, 19)) throw impossible(`2^${features.eventQueueLog2} events`);
  if (!isWithin(Math.log2(tlbEntries), 3, 20)) throw impossible(`a TLB of ${tlbEntries} entries`);
  return features;
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}

function impossible(what: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `no SMMUv3 has ${what}`, {
    hint: "IDR0, IDR1 and IDR5 in Arm IHI 0070 list what an SMMU can implement",
  });
}
