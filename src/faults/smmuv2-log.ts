import { iova } from "../iova.js";
import { blankFault, type FaultCause, type IommuFault } from "./fault.js";
import { type LogItem, type LogParser, notice } from "./log-item.js";
import type { LogLine } from "./log-line.js";
import { guessedDevice } from "./pci-address.js";

/** A bit of a fault status register. */
interface StatusBit {
  readonly name: string;
  readonly bit: number;
  readonly cause: FaultCause;
}

/** SMMU_CBn_FSR (Arm IHI 0062; arm-smmu.h, ARM_SMMU_CB_FSR_*), what matters most first. */
const CONTEXT_STATUS: readonly StatusBit[] = [
  { name: "TF", bit: 1, cause: "not-mapped" },
  { name: "PF", bit: 3, cause: "not-permitted" },
  { name: "AFF", bit: 2, cause: "not-permitted" },
  { name: "ASF", bit: 7, cause: "address-size" },
  { name: "EF", bit: 4, cause: "table-fetch" },
  { name: "UUT", bit: 8, cause: "hardware" },
  { name: "TLBMCF", bit: 5, cause: "hardware" },
  { name: "TLBLKF", bit: 6, cause: "hardware" },
];
/** SMMU_sGFSR (Arm IHI 0062). */
const GLOBAL_STATUS: readonly StatusBit[] = [
  { name: "USF", bit: 1, cause: "unknown-stream" },
  { name: "ICF", bit: 0, cause: "configuration" },
  { name: "SMCF", bit: 2, cause: "configuration" },
  { name: "UCBF", bit: 3, cause: "configuration" },
  { name: "UCIF", bit: 4, cause: "configuration" },
  { name: "CAF", bit: 5, cause: "configuration" },
  { name: "PF", bit: 7, cause: "not-permitted" },
  { name: "EF", bit: 6, cause: "hardware" },
  { name: "UUT", bit: 8, cause: "hardware" },
];
const STALLED = 30;

const PREFIX = /\barm-smmu (\S+): (.*)$/;
const CONTEXT =
  /^Unhandled context fault: (?:fsr=0x([0-9a-f]{1,8}), )?iova=0x([0-9a-f]{1,16}), fsynr=0x([0-9a-f]{1,8})(?:, cbfrsynra=0x([0-9a-f]{1,8}))?, cb=(\d{1,4})/;
const UNKNOWN_STREAM = /^Blocked unknown Stream ID 0x([0-9a-f]{1,4});/;
const GLOBAL = /^Unexpected global fault, this could be serious/;
const GLOBAL_REGISTERS = /^\s*GFSR 0x([0-9a-f]{1,8}), GFSYNR0 0x([0-9a-f]{1,8}), GFSYNR1 0x([0-9a-f]{1,8}), /;

/**
 * Messages of arm-smmu.c (arm_smmu_context_fault, arm_smmu_global_fault), which drives SMMUv1, SMMUv2 and MMU-500. A context
 * fault's first line has all that those after it decode.
 */
export class Smmuv2Log implements LogParser {
  /** Global faults whose registers come with the next line, by SMMU. */
  readonly #global = new Map<string, LogLine>();

  read(line: LogLine): readonly LogItem[] | undefined {
    const [, smmu = "", message = ""] = PREFIX.exec(line.text) ?? [];
    if (smmu === "") return undefined;
    const context = CONTEXT.exec(message);
    if (context !== null) return [{ fault: contextFault(smmu, line, context) }];
    if (GLOBAL.test(message) || UNKNOWN_STREAM.test(message)) return this.#begin(smmu, line);
    const registers = GLOBAL_REGISTERS.exec(message);
    return registers === null ? undefined : this.#addRegisters(smmu, line, registers);
  }

  flush(): readonly LogItem[] {
    return [...this.#global.keys()].flatMap((smmu) => this.#end(smmu));
  }

  #begin(smmu: string, line: LogLine): readonly LogItem[] {
    const before = this.#end(smmu);
    this.#global.set(smmu, line);
    return before;
  }

  #addRegisters(smmu: string, line: LogLine, registers: RegExpExecArray): readonly LogItem[] {
    const first = this.#global.get(smmu) ?? line;
    this.#global.delete(smmu);
    return [{ fault: globalFault(smmu, first, registers) }];
  }

  /** The registers did not come. */
  #end(smmu: string): readonly LogItem[] {
    const line = this.#global.get(smmu);
    this.#global.delete(smmu);
    if (line === undefined) return [];
    const [, , message = ""] = PREFIX.exec(line.text) ?? [];
    const stream = UNKNOWN_STREAM.exec(message);
    if (stream === null) return [notice("incomplete", line, { iommu: smmu })];
    const facts = { type: "USF", cause: "unknown-stream" } as const;
    return [{ fault: { ...streamFault(smmu, line, Number.parseInt(stream[1] ?? "", 16)), ...facts } }];
  }
}

function streamFault(smmu: string, line: LogLine, streamId: number): IommuFault {
  return { ...blankFault("arm-smmu", line), iommu: smmu, streamId, device: guessedDevice(streamId) };
}

function contextFault(
  smmu: string,
  line: LogLine,
  [, fsr, address, fsynr = "", source, bank]: RegExpExecArray,
): IommuFault {
  const status = fsr === undefined ? undefined : Number.parseInt(fsr, 16);
  const syndrome = Number.parseInt(fsynr, 16);
  // Older kernels do not read CBFRSYNRA.
  const from = source === undefined ? undefined : Number.parseInt(source, 16) & 0xffff;
  return {
    ...(from === undefined ? { ...blankFault("arm-smmu", line), iommu: smmu } : streamFault(smmu, line, from)),
    ...statusOf(status ?? 0, CONTEXT_STATUS),
    address: iova(BigInt(`0x${address}`)),
    access: has(syndrome, 4) ? "write" : "read",
    privileged: has(syndrome, 5),
    instruction: has(syndrome, 6),
    stalled: status === undefined ? undefined : has(status, STALLED),
    domain: Number(bank),
  };
}

function globalFault(
  smmu: string,
  line: LogLine,
  [, gfsr = "", gfsynr0 = "", gfsynr1 = ""]: RegExpExecArray,
): IommuFault {
  const syndrome = Number.parseInt(gfsynr0, 16);
  return {
    ...streamFault(smmu, line, Number.parseInt(gfsynr1, 16) & 0xffff),
    ...statusOf(Number.parseInt(gfsr, 16), GLOBAL_STATUS),
    access: has(syndrome, 1) ? "write" : "read",
    privileged: has(syndrome, 2),
    instruction: has(syndrome, 3),
  };
}

function statusOf(status: number, bits: readonly StatusBit[]): Pick<IommuFault, "type" | "cause"> {
  const set = bits.filter(({ bit }) => has(status, bit));
  return { type: set.map(({ name }) => name).join(" ") || "unknown", cause: set[0]?.cause ?? "unknown" };
}

function has(register: number, bit: number): boolean {
  return ((register >>> bit) & 1) === 1;
}
