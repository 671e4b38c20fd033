import { explainFault } from "../../faults/explain-fault.js";
import type { FaultNotice, IommuFault } from "../../faults/fault.js";
import type { FaultGroup } from "../../faults/fault-groups.js";
import { hex } from "../../iova.js";
import { type Finding, type Findings, faultCount } from "./findings.js";

/** Changes when a member changes its meaning or goes; new ones may come. */
const VERSION = 1;

/** A log's findings for programs. Addresses are text, `0x…`, since numbers are not exact; what is not known is null. */
export function reportJson(findings: Findings) {
  const { source, lines, groups, notices } = findings;
  const faults = faultCount(findings);
  return { version: VERSION, source, lines, faults, groups: groups.map(groupJson), notices: notices.map(noticeJson) };
}

/** One finding of a log that is followed. */
export function itemJson({ group, notice }: Finding) {
  if (notice !== undefined) return { version: VERSION, notice: noticeJson(notice) };
  return { version: VERSION, group: group === undefined ? null : groupJson(group) };
}

function groupJson({ first, last, count }: FaultGroup) {
  const { summary, meaning, advice } = explainFault(first);
  return { count, first: whenJson(first), last: whenJson(last), summary, meaning, advice, fault: faultJson(first) };
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
