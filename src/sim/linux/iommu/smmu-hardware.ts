import { IospanError } from "../../../errors.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import type { Granule } from "../../hw/smmu/page-descriptor.js";
import { REGISTER_FRAME_SIZE } from "../../hw/smmu/registers.js";
import { type SmmuFeatures, type SmmuInterrupt, SmmuV3 } from "../../hw/smmu/smmu.js";
import type { IommuDescription } from "../description.js";
import { sizesOf } from "./table-geometry.js";

/** 4 KiB, 2 MiB and 1 GiB. */
export const DEFAULT_PAGE_SIZES = 0x40201000n;
const DEFAULT_OUTPUT_BITS = 44;
const GRANULES: readonly Granule[] = [4096, 16384, 65536];
/** A page of commands and a page of events. */
const COMMAND_QUEUE_LOG2 = 8;
const EVENT_QUEUE_LOG2 = 7;

/**
 * Builds the SMMU that a description gives, with its registers at a physical address.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for one that cannot be.
 */
export function buildSmmu(
  description: IommuDescription,
  address: number,
  physical: PhysicalMemory,
  interrupt: (line: SmmuInterrupt) => void,
): SmmuV3 {
  const hardware = new SmmuV3(featuresOf(description), { memory: physical, interrupt });
  physical.place(address, REGISTER_FRAME_SIZE, hardware);
  return hardware;
}

function featuresOf(description: IommuDescription): Partial<SmmuFeatures> {
  const { stage = 1, outputBits = DEFAULT_OUTPUT_BITS, coherent = true } = description;
  const { streamIdBits, rangeInvalidation, tlbEntries, httu = false } = description;
  return {
    stage1: stage === 1,
    stage2: stage === 2,
    granules: granulesOf(description),
    // Checked by the hardware's own table of what can be.
    outputBits: outputBits as SmmuFeatures["outputBits"],
    coherentWalks: coherent,
    commandQueueLog2: COMMAND_QUEUE_LOG2,
    eventQueueLog2: EVENT_QUEUE_LOG2,
    msi: false,
    updatesTables: httu,
    ...(streamIdBits === undefined ? {} : { streamIdBits }),
    ...(rangeInvalidation === undefined ? {} : { rangeInvalidation }),
    ...(tlbEntries === undefined ? {} : { tlbEntries }),
  };
}

/** The granules whose pages are among the sizes. */
function granulesOf({ name, pageSizes = DEFAULT_PAGE_SIZES }: IommuDescription): readonly Granule[] {
  const granules = GRANULES.filter((granule) => (pageSizes & BigInt(granule)) !== 0n);
  const possible = granules.flatMap(sizesOfGranule).reduce((bitmap, size) => bitmap | BigInt(size), 0n);
  if (granules.length > 0 && (pageSizes & ~possible) === 0n) return granules;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${name} has page sizes 0x${pageSizes.toString(16)}`, {
    iommu: name,
    hint: "an SMMUv3 has 4 KiB (with 2 MiB and 1 GiB), 16 KiB (with 32 MiB) or 64 KiB (with 512 MiB, and 4 TiB where physical addresses have 52 bits)",
  });
}

function sizesOfGranule(granule: Granule): readonly number[] {
  return sizesOf(granule);
}
