import type { Check, Diagnosis, Outcome } from "../../doctor/check.js";
import type { CheckResult, Examination } from "../../doctor/examine.js";
import { bad, faint, good, type Line, line, name, notice, type Span, strong, WIDTH } from "../text/line.js";
import { counted } from "../text/quantity.js";
import { padEnd, widthOf } from "../text/width.js";
import { trimEnd, wrap } from "../text/wrap.js";
import { pageFile } from "./doctor-page.js";

const STYLES: Readonly<Record<Outcome, (text: string) => Span>> = {
  PASS: good,
  WARN: notice,
  FAIL: bad,
  "CANNOT-CHECK": notice,
};
/** Columns of the outcome, short as it is: a check that could not be made has its word on a line of its own. */
const MARGIN = 6;
/** Columns that text takes beside a title; with less, it goes below. */
const NARROWEST = 20;

/** What more is said than was found. */
export interface Remarks {
  /** Which devices were examined, where none was named. */
  readonly devices?: string | undefined;
  /** Checks were named: those of them that nothing concerns are told. */
  readonly tellsLeftOut?: boolean | undefined;
}

/** What passed on one line each, and what did not with where it is seen and how to mend it. */
export function renderExamination(
  found: Examination,
  sources: readonly string[],
  { devices, tellsLeftOut = false }: Remarks = {},
): readonly Line[] {
  const titles = Math.max(0, ...found.checks.map(({ title }) => widthOf(title)));
  const told = found.checks.filter(({ outcome }) => outcome !== "CANNOT-CHECK");
  return [
    line(strong(found.devices.join(", ") || "the machine"), faint(`  ${sources.join(", ")}`)),
    ...(devices === undefined ? [] : wrap(line(faint(devices)), WIDTH)),
    [],
    ...told.flatMap((result) => (result.outcome === "PASS" ? passedLine(result, titles) : renderResult(result))),
    ...renderUnchecked(found.checks.filter(({ outcome }) => outcome === "CANNOT-CHECK")),
    ...(tellsLeftOut ? renderLeftOut(found.leftOut) : []),
    [],
    summary(found),
  ].flatMap((each) => wrap(each, WIDTH));
}

function passedLine({ title, diagnoses }: CheckResult, titles: number): readonly Line[] {
  const text = [...new Set(diagnoses.map((each) => each.text))].join(", ");
  const start = line(good("PASS"), "  ", padEnd(title, titles));
  const indent = MARGIN + titles + 2;
  const below = [trimEnd(start), ...wrap(line(" ".repeat(MARGIN), faint(text)), WIDTH, MARGIN)];
  if (WIDTH - indent < NARROWEST) return below;
  const beside = wrap(line(...start, faint(`  ${text}`)), WIDTH, indent);
  return beside.length <= below.length ? beside : below;
}

function renderLeftOut(ids: readonly string[]): readonly Line[] {
  if (ids.length === 0) return [];
  const why = `nothing here concerns ${ids.length === 1 ? "it" : "them"}`;
  return wrap(line(faint("left out: "), ids.join(", "), faint(`; ${why}`)), WIDTH, MARGIN);
}

function renderResult({ id, diagnoses, page }: CheckResult): readonly Line[] {
  const wrong = diagnoses.filter(({ outcome }) => outcome !== "PASS");
  return [...wrong.flatMap((each) => renderDiagnosis(id, each)), ...items("page", [pageFile(page)], faint)];
}

function renderDiagnosis(id: string, { outcome, text, evidence, fix }: Diagnosis): readonly Line[] {
  const word = outcome === "CANNOT-CHECK" ? "?" : outcome;
  return [
    line(STYLES[outcome](padEnd(word, MARGIN)), strong(id)),
    ...indented(line(text)),
    ...items("seen", evidence, faint),
    ...items("fix", fix, name),
  ];
}

/** Those of which the same is to be said are told together. */
function renderUnchecked(results: readonly CheckResult[]): readonly Line[] {
  const byReason = new Map<
    string,
    { readonly ids: string[]; readonly texts: readonly string[]; readonly fix: readonly string[] }
  >();
  for (const { id, diagnoses } of results) {
    const open = diagnoses.filter(({ outcome }) => outcome === "CANNOT-CHECK");
    const texts = [...new Set(open.map(({ text }) => text))];
    const fix = [...new Set(open.flatMap((each) => each.fix))];
    const key = [...texts, ...fix].join("\n");
    const entry = byReason.get(key) ?? { ids: [], texts, fix };
    entry.ids.push(id);
    byReason.set(key, entry);
  }
  return [...byReason.values()].flatMap(({ ids, texts, fix }) => [
    ...wrap(line(notice("CANNOT-CHECK  "), strong(ids.join(", "))), WIDTH, MARGIN),
    ...texts.flatMap((text) => indented(line(text))),
    ...items("try", fix, name),
  ]);
}

function indented(text: Line): readonly Line[] {
  return wrap(line(" ".repeat(MARGIN), ...text), WIDTH, MARGIN);
}

/** Texts one below the other, with what they are beside the first. */
function items(label: string, texts: readonly string[], style: (text: string) => Span): readonly Line[] {
  return texts.flatMap((text, index) => {
    const start = `${" ".repeat(MARGIN)}${padEnd(index === 0 ? label : "", 6)}`;
    return wrap(line(faint(start), style(text)), WIDTH, start.length);
  });
}

function summary({ checks, worst }: Examination): Line {
  const count = (outcome: Outcome) => checks.filter((check) => check.outcome === outcome).length;
  const parts = (["FAIL", "WARN", "CANNOT-CHECK"] as const)
    .filter((outcome) => count(outcome) > 0)
    .map((outcome) => `${count(outcome)} ${outcome}`);
  const verdict = { FAIL: "It does not work like that", WARN: "It works, with warnings", PASS: "All is well" };
  const word = worst === "CANNOT-CHECK" ? "Nothing wrong was found" : verdict[worst];
  return line(STYLES[worst](word), `: ${[counted(checks.length, "check"), ...parts].join(", ")}`);
}

/** All checks with their titles. */
export function renderList(checks: readonly Check[]): readonly Line[] {
  const width = Math.max(...checks.map(({ id }) => widthOf(id)));
  return [
    ...checks.map(({ id, title }) => line(name(padEnd(id, width)), `  ${title}`)),
    [],
    line(faint("iospan doctor --explain ID tells what a check is about.")),
  ];
}
