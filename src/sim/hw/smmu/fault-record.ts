import { eventClasses, eventIds, eventRecord, fetchEventRecord, fetchEvents } from "./events.js";
import type { Fault } from "./fault.js";
import { READ } from "./table-walker.js";

/** The events about a configuration rather than an address: they tell no more than the stream. */
const CONFIGURATION_EVENTS: ReadonlySet<number> = new Set([
  eventIds.C_BAD_STREAMID,
  eventIds.C_BAD_STE,
  eventIds.F_STREAM_DISABLED,
  eventIds.C_BAD_SUBSTREAMID,
  eventIds.C_BAD_CD,
]);

/** The event record for a fault of an unprivileged data access (Arm IHI 0070, 7.3), as words of 64 bits. */
export function faultRecord(fault: Fault, streamId: number, low: number, top: number, permission: number): bigint[] {
  const { event, stage, intermediateAddress } = fault;
  const common = { Id: event, SID: streamId };
  if (CONFIGURATION_EVENTS.has(event)) return eventRecord.encode(common);
  const FetchAddr = fault.fetchAddress - (fault.fetchAddress % 8);
  if (event === eventIds.F_STE_FETCH || event === eventIds.F_CD_FETCH)
    return fetchEventRecord.encode({ ...common, FetchAddr });
  const access = {
    ...common,
    RnW: Number(permission === READ),
    S2: stage - 1,
    CLASS: fault.class,
    InputAddr: (BigInt(top) << 52n) | BigInt(low),
  };
  if (fetchEvents.has(event)) return fetchEventRecord.encode({ ...access, FetchAddr });
  // Of a walk's own access to a table, which only ever reads.
  const TTRnW = Number(event === eventIds.F_PERMISSION && fault.class === eventClasses.TT);
  return eventRecord.encode({ ...access, TTRnW, IPA: intermediateAddress - (intermediateAddress % 4096) });
}
