import type { FaultNotice, IommuFault } from "../../faults/fault.js";
import type { FaultGroup } from "../../faults/fault-groups.js";
import type { FaultOrigin } from "../../faults/fault-origin.js";
import { hex } from "../../iova.js";
import type { Explain } from "./explainer.js";
import { type Finding, type Findings, faultCount } from "./findings.js";

/** Changes when a member changes its meaning or goes; new ones may come. */
const VERSION = 1;

/** A log's findings for programs. Addresses are text, `0x…`, since numbers are not exact; what is not known is null. */
export function reportJson(findings: Findings, explain: Explain) {
  const { source, lines, groups, notices } = findings;
  const faults = faultCount(findings);
  const told = groups.map((group) => groupJson(group, explain));
  return { version: VERSION, source, lines, faults, groups: told, notices: notices.map(noticeJson) };
}

/** One finding of a log that is followed. */
export function itemJson({ group, notice }: Finding, explain: Explain) {
  if (notice !== undefined) return { version: VERSION, notice: noticeJson(notice) };
  return { version: VERSION, group: group === undefined ? null : groupJson(group, explain) };
}

function groupJson({ first, last, count }: FaultGroup, explain: Explain) {
  const { summary, meaning, advice, origin } = explain(first);
  const when = { first: whenJson(first), last: whenJson(last) };
  return { count, ...when, summary, meaning, advice, origin: originJson(origin), fault: faultJson(first) };
}

/** Null where no sources were asked. A driver or a group is null where there is none, and where no source tells. */
function originJson(origin: FaultOrigin | undefined) {
  if (origin === undefined) return null;
  const { iommu, from, devices, text } = origin;
  const told = devices.map(({ name, path, driver, group }) => {
    return { name, path: path ?? null, driver: driver ?? null, group: group ?? null };
  });
  return { iommu: iommu ?? null, from, devices: told, text };
}

function noticeJson(notice: FaultNotice) {
  const { kind, iommu, count, text } = notice;
  return { kind, iommu: iommu ?? null, count: count ?? null, text, ...whenJson(notice) };
}

function whenJson({ line, time }: Pick<IommuFault, "line" | "time">) {
  return { line, time: time?.text ?? null, uptime: time?.uptime ?? null };
}

function faultJson(fault: IommuFault) {
  const address = (value: bigint | undefined) => (value === undefined ? null : hex(value));
  return {
    format: fault.format,
    type: fault.type,
    cause: fault.cause,
    detail: fault.detail ?? null,
    iommu: fault.iommu ?? null,
    device: fault.device ?? null,
    streamId: fault.streamId ?? null,
    substreamId: fault.substreamId ?? null,
    address: address(fault.address),
    addressUnit: fault.addressUnit,
    access: fault.access ?? null,
    privileged: fault.privileged ?? null,
    instruction: fault.instruction ?? null,
    stage: fault.stage ?? null,
    stalled: fault.stalled ?? null,
    intermediateAddress: address(fault.intermediateAddress),
    fetchAddress: address(fault.fetchAddress),
    domain: fault.domain ?? null,
    record: fault.record?.map((word) => `0x${word.toString(16).padStart(16, "0")}`) ?? null,
  };
}
