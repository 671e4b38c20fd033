import type { FaultNotice, IommuFault, LogTime } from "../../faults/fault.js";
import type { FaultGroup } from "../../faults/fault-groups.js";
import { hex } from "../../iova.js";
import { bad, faint, good, type Line, line, name, notice as noticed, type Span, strong, WIDTH } from "../text/line.js";
import { counted } from "../text/quantity.js";
import { padEnd, shorten } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import type { Explain } from "./explainer.js";
import { type Findings, faultCount } from "./findings.js";

const LABEL_WIDTH = 11;

/** Everything that was found in a log. */
export function renderReport(findings: Findings, explain: Explain): readonly Line[] {
  const { source, lines, groups, notices } = findings;
  const where = ` in ${shorten(source, 40)}`;
  const total = faultCount(findings);
  const title =
    total === 0
      ? line(good("no IOMMU faults"), where, faint(`  ${counted(lines, "line")}`))
      : line(bad(counted(total, "IOMMU fault")), where, faint(repeats(total, groups.length)));
  const words = { explain, said: new Map<string, number>() };
  const parts = groups.map((group, index) => renderGroup(group, index + 1, words));
  return [...wrap(title, WIDTH), ...[...parts, notices.flatMap(renderNotice)].flatMap(separated)];
}

function repeats(total: number, groups: number): string {
  return total === groups ? "" : `  ${groups} different`;
}

function separated(part: readonly Line[]): readonly Line[] {
  return part.length === 0 ? [] : [[], ...part];
}

/** Where the words for faults come from. */
export interface Words {
  readonly explain: Explain;
  /** What has been explained, and with which number, which is not done twice. */
  readonly said: Map<string, number>;
}

/** A fault, and how often it is there. */
export function renderGroup(
  { first, last, count }: FaultGroup,
  number: number,
  { explain, said }: Words,
): readonly Line[] {
  const { summary, meaning, advice, origin } = explain(first);
  const before = said.get(meaning + advice);
  said.set(meaning + advice, before ?? number);
  const times = count > 1 ? [noticed(`  ${count} times`)] : [];
  return [
    ...wrap(line(faint(padEnd(String(number), 3)), strong(summary), ...times), WIDTH, 3),
    ...labelled("event", [name(first.type), ...eventFacts(first)]),
    ...labelled("device", [origin?.text ?? ""]),
    ...labelled("access", [facts(accessFacts(first))]),
    ...labelled("when", [whenText(first, last)]),
    ...(before === undefined ? labelled("means", [meaning]) : labelled("means", [faint(`the same as ${before}`)])),
    ...(before === undefined ? labelled("do", [advice]) : []),
  ];
}

/** A fault that has been told. */
export function renderAgain({ last, count }: FaultGroup, explain: Explain): readonly Line[] {
  const when = last.time === undefined ? "" : `  ${last.time.text}`;
  return wrap(line(faint("again  "), explain(last).summary, noticed(`  ${count} times`), faint(when)), WIDTH, 7);
}

const NOTICES: Readonly<Record<FaultNotice["kind"], string>> = {
  suppressed: "the kernel left out messages: there were more faults than the log has",
  "events-lost": "the IOMMU had no room to record them all: there were more faults than the log has",
  incomplete: "only a part of a record is in the log",
  "iommu-error": "the IOMMU itself is in trouble",
};

/** A message that is no fault. */
export function renderNotice({ kind, iommu, text, time }: FaultNotice): readonly Line[] {
  const when = time === undefined ? "" : `  ${time.text}`;
  const who = iommu === undefined || text.includes(iommu) ? "" : `${iommu}: `;
  return [
    ...wrap(line(noticed("!  "), NOTICES[kind], faint(when)), WIDTH, 3),
    ...wrap(line("   ", faint(`${who}${text}`)), WIDTH, 3),
  ];
}

function labelled(label: string, content: readonly (Span | string)[]): readonly Line[] {
  if (content.every((each) => each === "")) return [];
  return wrap(line(faint(padEnd(`   ${label}`, LABEL_WIDTH)), ...content), WIDTH, LABEL_WIDTH);
}

function eventFacts({ iommu, streamId, substreamId, detail, fetchAddress, domain, format }: IommuFault): string[] {
  const known = [
    iommu,
    streamId === undefined ? undefined : `${isArm(format) ? "StreamID" : "requester"} ${hex(streamId)}`,
    substreamId === undefined ? undefined : `${isArm(format) ? "SubstreamID" : "PASID"} ${hex(substreamId)}`,
    domain === undefined ? undefined : `${isArm(format) ? "context bank" : "domain"} ${domain}`,
    detail,
    fetchAddress === undefined ? undefined : `reading ${hex(fetchAddress)}`,
  ];
  return known.filter((each) => each !== undefined).map((each) => `  ${each}`);
}

function isArm(format: IommuFault["format"]): boolean {
  return format === "arm-smmu-v3" || format === "arm-smmu";
}

function accessFacts(fault: IommuFault): readonly (string | false | undefined)[] {
  const { access, address, addressUnit, privileged, instruction, stage, stalled, intermediateAddress } = fault;
  const at = address === undefined ? "" : ` at ${addressUnit === 1 ? "" : "a place in the page "}${hex(address)}`;
  return [
    access === undefined && at === "" ? undefined : `${access ?? "access"}${at}`,
    privileged === undefined ? undefined : privileged ? "privileged" : "unprivileged",
    instruction === undefined ? undefined : instruction ? "instruction" : "data",
    stage !== undefined && `stage ${stage}`,
    stage === 2 && intermediateAddress !== undefined && `intermediate address ${hex(intermediateAddress)}`,
    stalled === true && "stalled, then ended by the kernel",
  ];
}

function facts(known: readonly (string | false | undefined)[]): string {
  return known.filter((each) => typeof each === "string").join(", ");
}

function whenText(first: IommuFault, last: IommuFault): string {
  const [from, to] = [timeText(first.time), timeText(last.time)];
  const lines = first.line === last.line ? `line ${first.line}` : `lines ${first.line} to ${last.line}`;
  if (from === undefined) return lines;
  return `${from}${to === undefined || to === from ? "" : ` to ${to}`}, ${lines}`;
}

function timeText(time: LogTime | undefined): string | undefined {
  if (time === undefined) return undefined;
  return time.uptime === undefined ? time.text : `${time.text} s`;
}
