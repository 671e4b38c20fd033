import type { SmmuFeatures } from "./features.js";
import type { RegisterFile } from "./register-file.js";
import {
  addressSizes,
  HTTU_ACCESS_AND_DIRTY,
  registers,
  STALL_MODEL_NONE,
  TTENDIAN_LITTLE,
  TTF_AARCH64,
} from "./registers.js";

/** Minor revisions of the architecture: range invalidation is part of 3.2. */
const REVISION = { WITHOUT_RANGES: 1, WITH_RANGES: 2 } as const;

/**
 * Fills in what the SMMU says about itself. Of what came with 3.1 and 3.2, it has HAD and RIL. Left out on purpose, with their
 * fields in IDR3 at 0, are XNX (instruction fetches do not come in), FWB (cacheability has no effect here), BBML (no change
 * of a size without break-before-make is promised to work) and STT (small tables). IIDR stays 0: no known implementation, so
 * that no erratum is worked around.
 */
export function setIdRegisters(file: RegisterFile, features: SmmuFeatures): void {
  file.set(registers.IDR0.offset, idr0(features));
  file.set(registers.IDR1.offset, idr1(features));
  const { rangeInvalidation, granules, outputBits } = features;
  file.set(registers.IDR3.offset, registers.IDR3.encode({ HAD: 1, RIL: Number(rangeInvalidation) }));
  const idr5 = registers.IDR5.encode({
    OAS: addressSizes.indexOf(outputBits),
    GRAN4K: Number(granules.includes(4096)),
    GRAN16K: Number(granules.includes(16384)),
    GRAN64K: Number(granules.includes(65536)),
    VAX: Number(features.largeInput),
  });
  file.set(registers.IDR5.offset, idr5);
  const ArchMinorRev = rangeInvalidation ? REVISION.WITH_RANGES : REVISION.WITHOUT_RANGES;
  file.set(registers.AIDR.offset, registers.AIDR.encode({ ArchMinorRev }));
}

function idr0(features: SmmuFeatures): number {
  return registers.IDR0.encode({
    S2P: Number(features.stage2),
    S1P: Number(features.stage1),
    TTF: TTF_AARCH64,
    COHACC: Number(features.coherentWalks),
    HTTU: features.updatesTables ? HTTU_ACCESS_AND_DIRTY : 0,
    HYP: Number(features.hypervisor),
    ASID16: Number(features.asidBits === 16),
    MSI: Number(features.msi),
    VMID16: Number(features.vmidBits === 16),
    CD2L: Number(features.substreamIdBits > 0),
    TTENDIAN: TTENDIAN_LITTLE,
    STALL_MODEL: STALL_MODEL_NONE,
    // Faults abort the access; CD.A has to say so.
    TERM_MODEL: 1,
    ST_LEVEL: Number(features.twoLevelStreamTable),
  });
}

function idr1({ streamIdBits, substreamIdBits, eventQueueLog2, commandQueueLog2 }: SmmuFeatures): number {
  return registers.IDR1.encode({
    SIDSIZE: streamIdBits,
    SSIDSIZE: substreamIdBits,
    EVENTQS: eventQueueLog2,
    CMDQS: commandQueueLog2,
  });
}
