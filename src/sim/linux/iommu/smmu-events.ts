import type { Clock } from "../../hw/clock.js";
import { type DecodedEvent, decodeEvent, type EventName, eventClasses } from "../../hw/smmu/events.js";
import { type KernelLog, RateLimit } from "../kernel-log.js";
import type { Profile } from "../profile.js";

/** Events that the driver has a name for (arm-smmu-v3.c, event_str). */
const KNOWN: readonly EventName[] = [
  "C_BAD_STREAMID",
  "F_STE_FETCH",
  "C_BAD_STE",
  "F_STREAM_DISABLED",
  "C_BAD_SUBSTREAMID",
  "F_CD_FETCH",
  "C_BAD_CD",
  "F_TRANSLATION",
  "F_ADDR_SIZE",
  "F_ACCESS",
  "F_PERMISSION",
  "F_VMS_FETCH",
];
const FAULTS: readonly EventName[] = ["F_TRANSLATION", "F_ADDR_SIZE", "F_ACCESS", "F_PERMISSION"];
const FETCHES: readonly EventName[] = ["F_STE_FETCH", "F_CD_FETCH", "F_VMS_FETCH"];
/** By {@link DecodedEvent.class} (event_class_str). */
const CLASSES = ["CD fetch", "Stage 1 translation table fetch", "Input address caused fault", "Reserved"];

/** Prints event records as arm-smmu-v3.c does (arm_smmu_dump_raw_event, arm_smmu_dump_event). */
export class SmmuEvents {
  readonly #log: KernelLog;
  readonly #profile: Profile;
  /** One for all SMMUs. */
  readonly #limit: RateLimit;

  constructor(log: KernelLog, profile: Profile, clock: Clock) {
    this.#log = log;
    this.#profile = profile;
    this.#limit = new RateLimit(clock);
  }

  /**
   * @param smmu the SMMU's platform device
   * @param record 32 bytes, from its event queue
   * @param client finds the device that a StreamID belongs to
   */
  report(smmu: string, record: Uint8Array, client: (streamId: number) => string | undefined): void {
    if (!this.#limit.allow()) return;
    const event = decodeEvent(record);
    const print = (line: string) => this.#log.device("arm-smmu-v3", smmu, line);
    print(`event 0x${event.id.toString(16).padStart(2, "0")} received:`);
    for (const word of event.words) print(`\t0x${word.toString(16).padStart(16, "0")}`);
    if (!this.#profile.decodedEvents) return;
    for (const line of inWords(event, client(event.streamId) ?? "(unassigned sid)")) print(line);
  }
}

function inWords(event: DecodedEvent, client: string): readonly string[] {
  const { name, streamId, substreamId = 0 } = event;
  const known = name !== undefined && KNOWN.includes(name) ? name : "UNKNOWN";
  const start = `event: ${known} client: ${client} sid: ${hex(streamId)} ssid: ${hex(substreamId)}`;
  if (name !== undefined && FAULTS.includes(name)) {
    const addresses = `iova: ${hex(event.inputAddress)} ipa: ${hex(event.intermediateAddress)}`;
    return [`${start} ${addresses}`, access(event)];
  }
  if (name !== undefined && FETCHES.includes(name)) return [`${start} fetch_addr: ${hex(event.fetchAddress)}`];
  return [start];
}

function access(event: DecodedEvent): string {
  const isTableAccess = event.name === "F_PERMISSION" && event.class === eventClasses.TT;
  const table = isTableAccess ? (event.tableRead ? " ttd_read" : " ttd_write") : "";
  const words = [
    event.privileged ? "priv" : "unpriv",
    event.instruction ? "inst" : "data",
    event.read ? "read" : "write",
    `s${event.stage}`,
    `"${CLASSES[event.class]}"${table}${event.stalled ? " stall" : ""}`,
    `stag: ${hex(event.stallTag)}`,
  ];
  return words.join(" ");
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
