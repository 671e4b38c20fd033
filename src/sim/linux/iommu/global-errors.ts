import type { BitFields } from "../../hw/smmu/bit-fields.js";
import { commandErrors, registers } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";
import { type CommandQueue, SYNC } from "./command-queue.js";

type Print = (message: string) => void;

/** By CMDQ_CONS.ERR (arm-smmu-v3.c, __arm_smmu_cmdq_skip_err). */
const COMMAND_ERRORS: readonly string[] = [
  "No error",
  "Illegal command",
  "Abort on command fetch",
  "ATC invalidate timeout",
];

/** In the order the driver looks for them. */
const MESSAGES = [
  ["MSI_GERROR_ABT_ERR", "GERROR MSI write aborted"],
  ["MSI_PRIQ_ABT_ERR", "PRIQ MSI write aborted"],
  ["MSI_EVENTQ_ABT_ERR", "EVTQ MSI write aborted"],
  ["MSI_CMDQ_ABT_ERR", "CMDQ MSI write aborted"],
  ["PRIQ_ABT_ERR", "PRIQ write aborted -- events may have been lost"],
  ["EVENTQ_ABT_ERR", "EVTQ write aborted -- events may have been lost"],
] as const;

/** The interrupt for errors that belong to no device: says what is wrong, and acknowledges it (arm_smmu_gerror_handler). */
export function handleGlobalErrors(hardware: SmmuV3, queue: CommandQueue, print: Print): void {
  const { GERROR, GERRORN, CR0 } = registers;
  const reported = hardware.read32(GERROR.offset);
  const active = reported ^ hardware.read32(GERRORN.offset);
  const errors = GERROR.decode(active);
  if ((active & errorMask(GERROR.fields)) === 0) return;
  print(`unexpected global error reported (${hex(active)}), this could be serious`);
  if (errors.SFM_ERR === 1) {
    print("device has entered Service Failure Mode!");
    hardware.write32(CR0.offset, 0);
  }
  for (const [name, message] of MESSAGES) if (errors[name] === 1) print(message);
  if (errors.CMDQ_ERR === 1) skipCommand(hardware, queue, print);
  hardware.write32(GERRORN.offset, reported);
}

/** A command that is none becomes a CMD_SYNC; others are tried again. */
function skipCommand(hardware: SmmuV3, queue: CommandQueue, print: Print): void {
  const cons = hardware.read32(registers.CMDQ_CONS.offset);
  const { ERR } = registers.CMDQ_CONS.decode(cons);
  print(`CMDQ error (cons ${hex(cons)}): ${COMMAND_ERRORS[ERR] ?? "Unknown"}`);
  if (ERR === commandErrors.CERROR_ABT) print("retrying command fetch");
  if (ERR === commandErrors.CERROR_ABT || ERR === commandErrors.CERROR_NONE) return;
  if (ERR === commandErrors.CERROR_ATC_INV_SYNC) return;
  const failed = queue.replaceFailed(SYNC);
  print("skipping command in error state:");
  for (const word of failed) print(`\t0x${word.toString(16).padStart(16, "0")}`);
}

/** All error bits (GERROR_ERR_MASK). */
function errorMask(fields: BitFields): number {
  return Object.values(fields).reduce((mask, { low }) => mask | (1 << low), 0);
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, "0")}`;
}
