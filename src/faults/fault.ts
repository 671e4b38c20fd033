import type { Iova } from "../iova.js";

/** The drivers whose messages are understood, in the kernel's `drivers/iommu`. */
export const faultFormats = ["arm-smmu-v3", "arm-smmu", "dmar", "amd-vi"] as const;
/** One of {@link faultFormats}. */
export type FaultFormat = (typeof faultFormats)[number];

/**
 * What a fault comes down to, whichever IOMMU reported it. `not-mapped`: nothing at that address (or on Intel's, which often
 * cannot tell, nothing for this access). `not-permitted`: mapped, but not for this access. `address-size`: an address beyond what is translated. `unknown-stream`: the IOMMU has no configuration
 * for whoever asked. `configuration`: it has one that is wrong. `blocked`: it has one that forbids the access. `table-fetch`:
 * its own tables could not be read. `interrupt`: a message-signalled interrupt was refused. `hardware`: a failure beyond the
 * device's addresses. `unknown`: none of these.
 */
export const faultCauses = [
  "not-mapped",
  "not-permitted",
  "address-size",
  "unknown-stream",
  "configuration",
  "blocked",
  "table-fetch",
  "interrupt",
  "hardware",
  "unknown",
] as const;
/** One of {@link faultCauses}. */
export type FaultCause = (typeof faultCauses)[number];

/** Who did the access. */
export interface FaultDevice {
  /** The kernel's name: `0000:02:00.0`, `9030000.dma-port`. */
  readonly name: string;
  /**
   * `log`: the kernel said so. `stream`: a guess from the StreamID, as if it were a PCI requester ID (bus, device, function) of
   * domain 0, which it is where the firmware's `iommu-map` or IORT maps one to one.
   */
  readonly from: "log" | "stream";
}

/** When the kernel printed a message, as far as the log tells. */
export interface LogTime {
  /** As it is in the log: `12.345678`, `Mon Nov 23 01:57:35 2026`. */
  readonly text: string;
  /** Seconds since the machine started; undefined where the log has dates. */
  readonly uptime: number | undefined;
}

/** One access that an IOMMU refused, as the kernel logged it. What the log does not tell is undefined. */
export interface IommuFault {
  readonly format: FaultFormat;
  /**
   * The name that the architecture or its driver has for it: `F_TRANSLATION` (Arm IHI 0070, 7.3), `TF` (the bits of `FSR` or
   * `GFSR`, Arm IHI 0062), `PRI` (a page request that nobody serves), `0x05` (Intel's fault reason), `IO_PAGE_FAULT`.
   */
  readonly type: string;
  readonly cause: FaultCause;
  /** What the log itself says about the reason, or about what was being looked for. */
  readonly detail: string | undefined;
  /** The IOMMU's name in the log, such as `arm-smmu-v3.0.auto`. Intel's messages have none. */
  readonly iommu: string | undefined;
  readonly device: FaultDevice | undefined;
  /** The StreamID, or the requester ID that is x86's. */
  readonly streamId: number | undefined;
  /** The SubstreamID or PASID; undefined also for an access without one. */
  readonly substreamId: number | undefined;
  /** The address that the device put on the bus. */
  readonly address: Iova | undefined;
  /** Bytes to which {@link address} is exact: 1, or 4096 where only the page was recorded. */
  readonly addressUnit: 1 | 4096;
  readonly access: "read" | "write" | undefined;
  readonly privileged: boolean | undefined;
  /** An instruction fetch; false: data. */
  readonly instruction: boolean | undefined;
  /** The stage of translation that faulted. */
  readonly stage: 1 | 2 | undefined;
  /** The access waited to be resumed, and was then ended by the kernel. */
  readonly stalled: boolean | undefined;
  /** What stage 1 made of {@link address}, a multiple of 4096, for a fault at stage 2. */
  readonly intermediateAddress: bigint | undefined;
  /** Where the IOMMU read a table of its own, when that failed. */
  readonly fetchAddress: bigint | undefined;
  /** The driver's number of the domain (AMD) or context bank (SMMUv2). */
  readonly domain: number | undefined;
  /** The event record of an SMMUv3, four doublewords; undefined for others, and where the log has only its decoded form. */
  readonly record: readonly bigint[] | undefined;
  readonly time: LogTime | undefined;
  /** The line of the log that it begins in, from 1. */
  readonly line: number;
}

/** What a log's other messages say about its completeness or the IOMMU's health. */
export const noticeKinds = ["suppressed", "events-lost", "incomplete", "iommu-error"] as const;

/**
 * A message that is no fault, and makes a difference to how many there are. `suppressed`: the kernel limits how many it prints.
 * `events-lost`: the IOMMU had no room to record them. `incomplete`: the log has only a part of a record, because it begins
 * there or lost lines. `iommu-error`: the IOMMU itself is in trouble.
 */
export interface FaultNotice {
  readonly kind: (typeof noticeKinds)[number];
  readonly iommu: string | undefined;
  /** Calls that were suppressed, which may stand for several messages each; undefined for the other kinds. */
  readonly count: number | undefined;
  /** The message, without what the log puts in front. */
  readonly text: string;
  readonly time: LogTime | undefined;
  /** From 1. */
  readonly line: number;
}

/** A fault of which nothing is known but where it is in the log, to be filled in by a parser. */
export function blankFault(
  format: FaultFormat,
  { time, number }: { time: LogTime | undefined; number: number },
): IommuFault {
  return {
    format,
    type: "unknown",
    cause: "unknown",
    detail: undefined,
    iommu: undefined,
    device: undefined,
    streamId: undefined,
    substreamId: undefined,
    address: undefined,
    addressUnit: 1,
    access: undefined,
    privileged: undefined,
    instruction: undefined,
    stage: undefined,
    stalled: undefined,
    intermediateAddress: undefined,
    fetchAddress: undefined,
    domain: undefined,
    record: undefined,
    time,
    line: number,
  };
}
