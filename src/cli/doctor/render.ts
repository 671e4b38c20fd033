import type { Check, Diagnosis, Outcome } from "../../doctor/check.js";
import type { CheckResult, Examination } from "../../doctor/examine.js";
import { bad, faint, good, type Line, line, name, notice, type Span, strong, WIDTH } from "../text/line.js";
import { counted } from "../text/quantity.js";
import { padEnd, takeWhileFits, widthOf } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import { pageFile } from "./doctor-page.js";

const STYLES: Readonly<Record<Outcome, (text: string) => Span>> = {
  PASS: good,
  WARN: notice,
  FAIL: bad,
  "CANNOT-CHECK": notice,
};
/** Columns of the outcome, short as it is: a check that could not be made has its word on a line of its own. */
const MARGIN = 6;

/** What passed on one line each, and what did not with where it is seen and how to mend it. */
export function renderExamination(found: Examination, sources: readonly string[]): readonly Line[] {
  const titles = Math.max(0, ...found.checks.map(({ title }) => widthOf(title)));
  const told = found.checks.filter(({ outcome }) => outcome !== "CANNOT-CHECK");
  return [
    line(strong(found.devices.join(", ") || "the machine"), faint(`  ${sources.join(", ")}`)),
    ...(found.devices.length === 0 ? wrap(line(faint(NO_DEVICE)), WIDTH) : []),
    [],
    ...told.flatMap((result) => (result.outcome === "PASS" ? passedLine(result, titles) : renderResult(result))),
    ...renderUnchecked(found.checks.filter(({ outcome }) => outcome === "CANNOT-CHECK")),
    [],
    summary(found),
  ].flatMap((each) => wrap(each, WIDTH));
}

const NO_DEVICE =
  "No device is on a VFIO driver, or has a driver_override that says so: name devices to have them examined.";

function passedLine({ title, diagnoses }: CheckResult, titles: number): readonly Line[] {
  const text = [...new Set(diagnoses.map((each) => each.text))].join(", ");
  const start = line(good("PASS"), "  ", padEnd(title, titles));
  const left = WIDTH - MARGIN - titles - 2;
  return [left < 12 ? start : line(...start, faint(`  ${cut(text, left)}`))];
}

/** As much of its beginning as there is room for. */
function cut(text: string, width: number): string {
  return widthOf(text) <= width
    ? text
    : `${takeWhileFits([...text], width - 1)
        .join("")
        .trimEnd()}…`;
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
