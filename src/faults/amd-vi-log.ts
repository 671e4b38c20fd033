import { iova } from "../iova.js";
import { blankFault, type FaultCause, type FaultDevice, type IommuFault } from "./fault.js";
import { type LogItem, type LogParser, notice } from "./log-item.js";
import type { LogLine } from "./log-line.js";
import { namedPciDevice, requesterId } from "./pci-address.js";

/** A device that is there stands in front of the message, with its driver: `vfio-pci 0000:02:00.0: AMD-Vi: …`; not in old kernels. */
const EVENT = /(?:^|\s)(?:(\S+) (\S+): )?AMD-Vi: Event logged \[([^\]]{1,400})\]?/;
const KIND = /^([A-Z][A-Z_]+[A-Z])(?= |$)/;
const UNATTACHED = "Device not attached to domain properly";
const UNATTACHED_DEVICE = /\bAMD-Vi: +device=([0-9a-f:.]{7,20}) domain=0x([0-9a-f]{1,8})/;
const TROUBLE = /\bAMD-Vi: (Completion-Wait loop timed out|IOMMU not functioning|No event written to event log)/;
const LOST = /\bAMD-Vi: (?:IOMMU )?Event log (?:overflow|restarting)/i;

/** Flags of an IO_PAGE_FAULT (AMD 48882; amd_iommu_types.h, EVENT_FLAG_*). */
const FLAGS = { execute: 1, user: 2, interrupt: 3, present: 4, write: 5, permission: 6 } as const;

const CAUSES: Readonly<Record<string, FaultCause>> = {
  ILLEGAL_DEV_TABLE_ENTRY: "configuration",
  DEV_TAB_HARDWARE_ERROR: "table-fetch",
  PAGE_TAB_HARDWARE_ERROR: "table-fetch",
  IOTLB_INV_TIMEOUT: "hardware",
  INVALID_DEVICE_REQUEST: "blocked",
  INVALID_PPR_REQUEST: "blocked",
  RMP_PAGE_FAULT: "blocked",
  RMP_HW_ERROR: "hardware",
};

/** Messages of amd/iommu.c (iommu_print_event, amd_iommu_report_page_fault). */
export class AmdViLog implements LogParser {
  /** A device without a domain is named in the next line. */
  #unattached: LogLine | undefined;

  read(line: LogLine): readonly LogItem[] | undefined {
    const { text } = line;
    const event = EVENT.exec(text);
    if (event !== null) return this.#readEvent(line, event);
    const unattached = UNATTACHED_DEVICE.exec(text);
    if (unattached !== null) return this.#endUnattached(line, unattached);
    if (LOST.test(text)) return [notice("events-lost", line)];
    return TROUBLE.test(text) ? [notice("iommu-error", line)] : undefined;
  }

  flush(): readonly LogItem[] {
    const line = this.#unattached;
    this.#unattached = undefined;
    return line === undefined ? [] : [notice("incomplete", line)];
  }

  #readEvent(line: LogLine, [, , owner = "", body = ""]: RegExpExecArray): readonly LogItem[] {
    const before = this.flush();
    if (body.startsWith(UNATTACHED)) {
      this.#unattached = line;
      return before;
    }
    const type = KIND.exec(body)?.[1];
    if (type === undefined) return before;
    // A command is the driver's, not a device's.
    const isIommu = type.includes("COMMAND") || type === "UNKNOWN";
    return [...before, isIommu ? notice("iommu-error", line) : { fault: eventFault(line, type, owner, body) }];
  }

  #endUnattached(line: LogLine, [, name = "", domain = ""]: RegExpExecArray): readonly LogItem[] {
    const first = this.#unattached ?? line;
    this.#unattached = undefined;
    const facts = { type: "IO_PAGE_FAULT", cause: "configuration", detail: UNATTACHED } as const;
    const who = from(namedPciDevice(name));
    return [{ fault: { ...blankFault("amd-vi", first), ...facts, ...who, domain: Number.parseInt(domain, 16) } }];
  }
}

/** @param owner the device in front of the message: who did it, or where the body names one, the IOMMU. */
function eventFault(line: LogLine, type: string, owner: string, body: string): IommuFault {
  const own = namedPciDevice(value(body, "device") ?? "");
  const pasid = hexadecimal(body, "pasid");
  const address = hexadecimal(body, "address") ?? hexadecimal(body, "gpa");
  return {
    ...blankFault("amd-vi", line),
    type,
    cause: CAUSES[type] ?? "unknown",
    ...from(own ?? namedPciDevice(owner)),
    iommu: own !== undefined && owner !== "" ? owner : undefined,
    // The driver prints 0 where there is none.
    substreamId: pasid === undefined || pasid === 0n ? undefined : Number(pasid),
    address: address === undefined ? undefined : iova(address),
    domain: numberOf(hexadecimal(body, "domain")),
    ...(type === "IO_PAGE_FAULT" ? pageFault(Number(hexadecimal(body, "flags") ?? 0n)) : {}),
  };
}

function pageFault(flags: number): Partial<IommuFault> {
  const has = (flag: keyof typeof FLAGS) => ((flags >>> FLAGS[flag]) & 1) === 1;
  if (has("interrupt")) return { cause: "interrupt" };
  const isPresent = has("present");
  return {
    cause: isPresent || has("permission") ? "not-permitted" : "not-mapped",
    // Whether it was a read is only defined where the page was present; in practice it is there always.
    access: has("write") ? "write" : "read",
    privileged: isPresent ? !has("user") : undefined,
    instruction: isPresent ? has("execute") && !has("write") : undefined,
  };
}

function from(device: FaultDevice | undefined): Pick<IommuFault, "device" | "streamId"> {
  return { device, streamId: device === undefined ? undefined : requesterId(device) };
}

function value(body: string, name: string): string | undefined {
  return new RegExp(`\\b${name}=([^ ,\\]]{1,40})`).exec(body)?.[1];
}

function hexadecimal(body: string, name: string): bigint | undefined {
  const text = value(body, name);
  return text !== undefined && /^0x[0-9a-f]{1,16}$/i.test(text) ? BigInt(text) : undefined;
}

function numberOf(found: bigint | undefined): number | undefined {
  return found === undefined ? undefined : Number(found);
}
