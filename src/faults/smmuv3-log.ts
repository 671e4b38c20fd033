import { iova } from "../iova.js";
import { blankFault, type FaultDevice, type IommuFault } from "./fault.js";
import { type LogItem, type LogParser, notice } from "./log-item.js";
import type { LogLine } from "./log-line.js";
import { guessedDevice } from "./pci-address.js";
import { decodeSmmuv3Event, type Smmuv3Event, smmuv3EventId, smmuv3Events } from "./smmuv3-event.js";

/** A record that has begun. */
interface Pending {
  readonly first: LogLine;
  /** From `event 0x10 received:`; undefined where the log begins later. */
  readonly id: number | undefined;
  readonly words: bigint[];
  decoded?: Decoded;
}

/** What the decoded line says, as fields of a fault. */
interface Decoded {
  readonly fault: Partial<IommuFault>;
  readonly client: string;
  /** Another line says which access it was. */
  readonly hasMore: boolean;
}

const PREFIX = /\barm-smmu-v3 (\S+): (.*)$/;
const HEADER = /^event 0x([0-9a-f]{1,2}) received:$/;
const WORD = /^\s*0x([0-9a-f]{16})$/;
const DECODED =
  /^event: (\w+) client: (.+?) sid: (?:0x)?([0-9a-f]{1,8}) ssid: (?:0x)?([0-9a-f]{1,8})(?: iova: (?:0x)?([0-9a-f]{1,16}))?(?: ipa: (?:0x)?([0-9a-f]{1,16}))?(?: fetch_addr: (?:0x)?([0-9a-f]{1,16}))?$/;
const ACCESS = /^(priv|unpriv) (inst|data) (read|write) s([12]) "([^"]*)"(?: ttd_(?:read|write))?( stall)? stag: /;
const LOST = /^(?:EVTQ overflow detected|PRIQ overflow detected|(?:EVTQ|PRIQ) write aborted)/;
const TROUBLE =
  /^(?:unexpected global error reported|device has entered Service Failure Mode|CMDQ error|GERROR MSI|CMD_SYNC timeout)/;
/** arm_smmu_handle_ppr: a line without facts, then this one. */
const PAGE_REQUEST =
  /^\s*sid 0x([0-9a-f]{8})\.0x([0-9a-f]{5}): \[\d{1,5}L?\] (un)?privileged ([RWX]{0,3}) access at iova 0x([0-9a-f]{16})$/;
const DOUBLEWORDS = 4;
const NOBODY = "(unassigned sid)";

/**
 * Messages of arm-smmu-v3.c: records in doublewords (arm_smmu_dump_raw_event), since Linux 6.14 also in words
 * (arm_smmu_dump_event), which alone name the device. Each SMMU prints its records one after the other.
 */
export class Smmuv3Log implements LogParser {
  readonly #pending = new Map<string, Pending>();

  read(line: LogLine): readonly LogItem[] | undefined {
    const [, smmu = "", message = ""] = PREFIX.exec(line.text) ?? [];
    if (smmu === "") return undefined;
    const header = HEADER.exec(message);
    if (header !== null) return this.#begin(smmu, { first: line, id: Number.parseInt(header[1] ?? "", 16), words: [] });
    const word = WORD.exec(message);
    if (word !== null) return this.#addWord(smmu, line, BigInt(`0x${word[1]}`));
    const decoded = DECODED.exec(message);
    if (decoded !== null) return this.#addDecoded(smmu, line, readDecoded(decoded));
    const access = ACCESS.exec(message);
    if (access !== null) return this.#addAccess(smmu, readAccess(access));
    const request = PAGE_REQUEST.exec(message);
    if (request !== null) return [{ fault: pageRequest(smmu, line, request) }];
    if (LOST.test(message)) return [...this.#end(smmu), notice("events-lost", line, { iommu: smmu })];
    return TROUBLE.test(message) ? [notice("iommu-error", line, { iommu: smmu })] : undefined;
  }

  flush(): readonly LogItem[] {
    return [...this.#pending.keys()].flatMap((smmu) => this.#end(smmu));
  }

  #begin(smmu: string, pending: Pending): readonly LogItem[] {
    const before = this.#end(smmu);
    this.#pending.set(smmu, pending);
    return before;
  }

  /** Doublewords after a log's beginning may belong to a record whose header is lost. */
  #addWord(smmu: string, line: LogLine, word: bigint): readonly LogItem[] {
    const pending = this.#pending.get(smmu);
    if (pending === undefined) return this.#begin(smmu, { first: line, id: undefined, words: [word] });
    if (pending.decoded !== undefined || pending.words.length === DOUBLEWORDS) {
      return this.#begin(smmu, { first: line, id: undefined, words: [word] });
    }
    pending.words.push(word);
    return [];
  }

  #addDecoded(smmu: string, line: LogLine, decoded: Decoded): readonly LogItem[] {
    const before = this.#pending.get(smmu);
    const isNext = before !== undefined && before.decoded === undefined;
    const done = isNext ? [] : this.#begin(smmu, { first: line, id: undefined, words: [] });
    const pending = this.#pending.get(smmu);
    if (pending !== undefined) pending.decoded = decoded;
    // The doublewords have what the line after this one says, so that need not be waited for.
    const isComplete = !decoded.hasMore || (pending !== undefined && isWhole(pending));
    return isComplete ? [...done, ...this.#end(smmu)] : done;
  }

  /** Without anything before it, the line says nothing that is not known already. */
  #addAccess(smmu: string, access: Partial<IommuFault>): readonly LogItem[] {
    const pending = this.#pending.get(smmu);
    if (pending?.decoded === undefined) return [];
    pending.decoded = { ...pending.decoded, fault: { ...pending.decoded.fault, ...access } };
    return this.#end(smmu);
  }

  #end(smmu: string): readonly LogItem[] {
    const pending = this.#pending.get(smmu);
    this.#pending.delete(smmu);
    if (pending === undefined) return [];
    if (isWhole(pending)) return [{ fault: faultOf(smmu, pending) }];
    if (pending.decoded !== undefined) {
      const device = clientDevice(pending.decoded.client);
      return [
        { fault: { ...blankFault("arm-smmu-v3", pending.first), iommu: smmu, device, ...pending.decoded.fault } },
      ];
    }
    return [notice("incomplete", pending.first, { iommu: smmu })];
  }
}

/** Doublewords are only believed as the record that their header announces. */
function isWhole({ id, words }: Pending): boolean {
  return words.length === DOUBLEWORDS && id !== undefined && Number((words[0] ?? 0n) & 0xffn) === id;
}

function faultOf(smmu: string, { first, words, decoded }: Pending): IommuFault {
  const event = decodeSmmuv3Event(words);
  return {
    ...blankFault("arm-smmu-v3", first),
    type: event.name ?? `event 0x${event.id.toString(16).padStart(2, "0")}`,
    cause: event.cause,
    detail: detailOf(event),
    iommu: smmu,
    device: decoded === undefined ? guessedDevice(event.streamId) : clientDevice(decoded.client),
    streamId: event.streamId,
    substreamId: event.substreamId,
    address: event.inputAddress === undefined ? undefined : iova(event.inputAddress),
    access: event.access,
    privileged: event.privileged,
    instruction: event.instruction,
    stage: event.stage,
    stalled: event.stalled,
    intermediateAddress: event.stage === 2 ? event.intermediateAddress : undefined,
    fetchAddress: event.fetchAddress,
    record: words,
  };
}

/** In the driver's words (event_class_str), where it was not the device's own address. */
function detailOf(event: Smmuv3Event): string | undefined {
  if (event.class === "CD") return "CD fetch";
  if (event.class === "TT") return `Stage 1 translation table fetch, ${event.tableAccess}`;
  return undefined;
}

/** A device may ask for several rights at once; writing needs the most. */
function pageRequest(
  smmu: string,
  line: LogLine,
  [, sid, ssid, un, rights = "", address]: RegExpExecArray,
): IommuFault {
  const streamId = Number.parseInt(sid ?? "", 16);
  const substreamId = Number.parseInt(ssid ?? "", 16);
  return {
    ...blankFault("arm-smmu-v3", line),
    type: "PRI",
    cause: "not-mapped",
    iommu: smmu,
    device: guessedDevice(streamId),
    streamId,
    substreamId: substreamId === 0 ? undefined : substreamId,
    address: iova(BigInt(`0x${address}`)),
    addressUnit: 4096,
    access: rights.includes("W") ? "write" : rights === "" ? undefined : "read",
    privileged: un === undefined,
    instruction: rights.includes("X"),
  };
}

function clientDevice(client: string): FaultDevice | undefined {
  return client === NOBODY ? undefined : { name: client, from: "log" };
}

function readDecoded([, name = "", client = "", sid = "", ssid = "", address, ipa, fetch]: RegExpExecArray): Decoded {
  const kind = smmuv3Events.get(smmuv3EventId(name) ?? -1);
  const substreamId = Number.parseInt(ssid, 16);
  return {
    client,
    hasMore: kind?.has.includes("intermediate") === true,
    fault: {
      type: name,
      cause: kind?.cause ?? "unknown",
      streamId: Number.parseInt(sid, 16),
      // The driver prints 0 where there is none.
      substreamId: substreamId === 0 ? undefined : substreamId,
      address: address === undefined ? undefined : iova(BigInt(`0x${address}`)),
      intermediateAddress: ipa === undefined || /^0+$/.test(ipa) ? undefined : BigInt(`0x${ipa}`),
      fetchAddress: fetch === undefined ? undefined : BigInt(`0x${fetch}`),
    },
  };
}

function readAccess([, privilege, kind, access, stage, entry, stall]: RegExpExecArray): Partial<IommuFault> {
  return {
    privileged: privilege === "priv",
    instruction: kind === "inst",
    access: access === "read" ? "read" : "write",
    stage: stage === "2" ? 2 : 1,
    stalled: stall !== undefined,
    detail: entry === "Input address caused fault" ? undefined : entry,
  };
}
