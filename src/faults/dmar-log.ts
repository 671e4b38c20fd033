import { iova } from "../iova.js";
import { blankFault, type FaultCause, type IommuFault } from "./fault.js";
import { type LogItem, type LogParser, notice } from "./log-item.js";
import type { LogLine } from "./log-line.js";
import { namedPciDevice, requesterId } from "./pci-address.js";

/** A request; in old kernels the reason comes with the next line. */
interface Request {
  readonly line: LogLine;
  readonly fault: IommuFault;
  readonly isInterrupt: boolean;
}

const REQUEST =
  /\b(?:DMAR|INTR-REMAP): ?(?:\[(DMA Read|DMA Write|INTR-REMAP)(?: NO_PASID| PASID (?:0x)?([0-9a-f]{1,8}))?\] ?)?Request device \[+([0-9a-f:.]{7,20})\] (?:PASID ([0-9a-f]{1,8}) )?fault (addr|index) (?:0x)?([0-9a-f]{1,16})/;
const REASON = /\[fault reason (0x)?([0-9a-f]{1,3})\] ?(.*)$/;
const REASON_ALONE = /\b(?:DMAR|INTR-REMAP): ?\[fault reason /;
const STATUS = /\bDMAR: DRHD: handling fault status reg (?:0x)?([0-9a-f]{1,8})/;
/** DMA_FSTS_PFO: more faults than there are registers for them (intel/iommu.h). */
const OVERFLOW = 1;
const TROUBLE = /\bDMAR: (?:.*(?:Invalidation Time-out Error|Invalidation Queue Error|VT-d detected))/;
/** PASID that older kernels print where there is none. */
const NO_PASID = 0xffff_ffff;

/** Messages of intel/dmar.c (dmar_fault, dmar_fault_do_one), from Linux 3 on. */
export class DmarLog implements LogParser {
  #request: Request | undefined;

  read(line: LogLine): readonly LogItem[] | undefined {
    const { text } = line;
    const request = REQUEST.exec(text);
    if (request !== null) return this.#begin(readRequest(line, request), REASON.exec(text));
    if (REASON_ALONE.test(text)) return this.#end(REASON.exec(text));
    const status = STATUS.exec(text);
    if (status !== null) return isOverflow(status[1] ?? "") ? [notice("events-lost", line)] : [];
    return TROUBLE.test(text) ? [notice("iommu-error", line)] : undefined;
  }

  flush(): readonly LogItem[] {
    return this.#end(null);
  }

  #begin(request: Request, reason: RegExpExecArray | null): readonly LogItem[] {
    const before = this.#end(null);
    this.#request = request;
    return reason === null ? before : [...before, ...this.#end(reason)];
  }

  #end(reason: RegExpExecArray | null): readonly LogItem[] {
    const request = this.#request;
    this.#request = undefined;
    return request === undefined ? [] : [{ fault: { ...request.fault, ...readReason(request, reason) } }];
  }
}

function readRequest(line: LogLine, [, kind, pasid, name = "", older, what, value]: RegExpExecArray): Request {
  const isInterrupt = what === "index";
  const device = namedPciDevice(name);
  const substreamId = Number.parseInt(pasid ?? older ?? "", 16);
  const fault: IommuFault = {
    ...blankFault("dmar", line),
    device,
    streamId: device === undefined ? undefined : requesterId(device),
    substreamId: Number.isNaN(substreamId) || substreamId === NO_PASID ? undefined : substreamId,
    address: isInterrupt ? undefined : iova(BigInt(`0x${value}`)),
    addressUnit: 4096,
    access: kind === "DMA Read" ? "read" : kind === "DMA Write" ? "write" : undefined,
    detail: isInterrupt ? `interrupt index ${Number.parseInt(value ?? "", 16)}` : undefined,
  };
  return { line, fault, isInterrupt };
}

function readReason({ isInterrupt, fault }: Request, reason: RegExpExecArray | null): Partial<IommuFault> {
  if (reason === null) return { cause: isInterrupt ? "interrupt" : "unknown" };
  const [, isHex, digits = "", words = ""] = reason;
  // Older kernels print it in decimal, which shows by the missing 0x.
  const code = Number.parseInt(digits, isHex === undefined ? 10 : 16);
  return {
    type: `0x${code.toString(16).padStart(2, "0")}`,
    cause: isInterrupt ? "interrupt" : causeOf(code),
    detail: [words.trim(), fault.detail].filter(Boolean).join(", ") || undefined,
  };
}

/** 0x05, 0x06, 0x79: an entry of the second stage without a right is also what an absent one looks like. */
const NOT_MAPPED = [0x05, 0x06, 0x71, 0x79];
const NOT_PERMITTED = [0x75, 0x76, 0x77, 0x81, 0x82, 0x85, 0x86];
const ADDRESS_SIZE = [0x04, 0x74, 0x80, 0x83, 0x84];
const UNKNOWN_STREAM = [0x01, 0x02, 0x39, 0x41];
const TABLE_FETCH = [0x07, 0x08, 0x09, 0x38, 0x40, 0x50, 0x58, 0x70, 0x73, 0x78];
const BLOCKED = [0x0d];

/** Fault reasons (intel/dmar.c, dma_remap_fault_reasons and dma_remap_sm_fault_reasons). */
function causeOf(code: number): FaultCause {
  if (NOT_PERMITTED.includes(code)) return "not-permitted";
  if (TABLE_FETCH.includes(code)) return "table-fetch";
  if (NOT_MAPPED.includes(code)) return "not-mapped";
  if (ADDRESS_SIZE.includes(code)) return "address-size";
  if (UNKNOWN_STREAM.includes(code)) return "unknown-stream";
  if (BLOCKED.includes(code)) return "blocked";
  return (code >= 0x0a && code <= 0x0c) || code === 0x03 || (code >= 0x30 && code <= 0x90)
    ? "configuration"
    : "unknown";
}

function isOverflow(status: string): boolean {
  return (Number.parseInt(status, 16) & OVERFLOW) !== 0;
}
