import { addressSizes, HTTU_ACCESS_AND_DIRTY, registers, ST_LEVEL_TWO } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";
import { sizesOf } from "./table-geometry.js";

/** What an SMMU can, as its ID registers say. */
export interface SmmuProperties {
  readonly stage1: boolean;
  readonly stage2: boolean;
  /** Bytes of the pages and blocks of all its granules, ascending. */
  readonly pageSizes: readonly number[];
  /** Bits of a physical address. */
  readonly outputBits: number;
  /** Bits of an IOVA in stage 1, as far as the SMMU goes. */
  readonly inputBits: number;
  readonly streamIdBits: number;
  readonly twoLevelStreamTable: boolean;
  readonly rangeInvalidation: boolean;
  /** Walks write down that a page was written to. */
  readonly marksWrites: boolean;
  readonly asidBits: number;
  readonly vmidBits: number;
  /** log2 of the commands its queue can have. */
  readonly commandQueueLog2: number;
  /** log2 of the events its queue can have. */
  readonly eventQueueLog2: number;
}

/** log2 of the bytes of the largest queue: MAX_ORDER pages of 4 KiB (arm-smmu-v3.h, Q_MAX_SZ_SHIFT). */
const LARGEST_QUEUE = 22;
const COMMAND_BITS = 4;
const EVENT_BITS = 5;
/** StreamIDs that one table of the second level has room for, as bits (arm-smmu-v3.h, STRTAB_SPLIT). */
export const STREAM_TABLE_SPLIT = 8;

/** Reads the ID registers (arm-smmu-v3.c, arm_smmu_device_hw_probe). */
export function readProperties(hardware: SmmuV3): SmmuProperties {
  const idr0 = registers.IDR0.decode(hardware.read32(registers.IDR0.offset));
  const idr1 = registers.IDR1.decode(hardware.read32(registers.IDR1.offset));
  const idr3 = registers.IDR3.decode(hardware.read32(registers.IDR3.offset));
  const idr5 = registers.IDR5.decode(hardware.read32(registers.IDR5.offset));
  const outputBits = addressSizes[idr5.OAS] ?? 48;
  return {
    stage1: idr0.S1P === 1,
    stage2: idr0.S2P === 1,
    pageSizes: readPageSizes(idr5, outputBits),
    outputBits,
    inputBits: idr5.VAX === 1 ? 52 : 48,
    streamIdBits: idr1.SIDSIZE,
    // One table of the second level would do for all of them.
    twoLevelStreamTable: idr0.ST_LEVEL === ST_LEVEL_TWO && idr1.SIDSIZE > STREAM_TABLE_SPLIT,
    rangeInvalidation: idr3.RIL === 1,
    marksWrites: idr0.HTTU >= HTTU_ACCESS_AND_DIRTY,
    asidBits: idr0.ASID16 === 1 ? 16 : 8,
    vmidBits: idr0.VMID16 === 1 ? 16 : 8,
    commandQueueLog2: Math.min(LARGEST_QUEUE - COMMAND_BITS, idr1.CMDQS),
    eventQueueLog2: Math.min(LARGEST_QUEUE - EVENT_BITS, idr1.EVENTQS),
  };
}

function readPageSizes(
  { GRAN4K, GRAN16K, GRAN64K }: { readonly GRAN4K: number; readonly GRAN16K: number; readonly GRAN64K: number },
  outputBits: number,
): readonly number[] {
  const sizes = [
    ...(GRAN4K === 1 ? sizesOf(4096) : []),
    ...(GRAN16K === 1 ? sizesOf(16384) : []),
    ...(GRAN64K === 1 ? sizesOf(65536).filter((size) => outputBits > 48 || size < 2 ** 42) : []),
  ];
  return sizes.sort((a, b) => a - b);
}
