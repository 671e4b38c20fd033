import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Host, LabError } from "../lab/host.js";
import { Census } from "./census.js";
import { type DebianTrees, PACKAGE } from "./debian-trees.js";
import { KNOWN_BOARDS } from "./known-boards.js";
import { Progress } from "./progress.js";
import { Report } from "./report.js";

/** How many of a kind of problem are printed. */
const MOST_LINES = 10;
/** Seconds of processor time for reading every tree and planning each pair of devices. */
const BUDGET = 60;

/** Checks everything and returns the exit code. */
export async function checkBoards(host: Host, trees: DebianTrees): Promise<number> {
  const census = await takeCensus(host, trees);
  const report = new Report();
  report.check("every tree is read and planned", listed(census.refused), `${trees.files.length} of ${trees.package}`);
  reportTotals(report, census, trees);
  reportKnown(report, trees);
  reportAgreement(report, census);
  reportTime(report, census, trees);
  return report.finish();
}

async function takeCensus(host: Host, { folder, files }: DebianTrees): Promise<Census> {
  if (files.length === 0) throw new LabError(`${folder} holds no device trees\n  remove it, and run this again`);
  const census = new Census();
  const progress = new Progress(host, "boards", files.length);
  for (const file of files) {
    host.signal.throwIfAborted();
    census.add(file.replace(/\.dtb$/, ""), await readFile(join(folder, file)));
    progress.advance();
  }
  progress.end();
  return census;
}

/** The totals are of one package; of another they are shown, and one line fails that says what to do. */
function reportTotals(report: Report, { tallies }: Census, trees: DebianTrees): void {
  const isSame = trees.package === PACKAGE;
  for (const { total, result, expected } of tallies) {
    const problem = result === expected ? undefined : `${result}, should be ${expected}`;
    if (isSame) report.check(total.what, problem, result);
    else report.note(`# ${total.what}: ${problem ?? result}`);
  }
  if (isSame) return;
  const hint = "if they are right, change PACKAGE in boards/debian-trees.ts and the totals in boards/totals";
  report.check("the totals", `are of ${PACKAGE}, which Debian no longer has; these are of ${trees.package}: ${hint}`);
}

function reportKnown(report: Report, { files, package: name }: DebianTrees): void {
  const missing = Object.keys(KNOWN_BOARDS).filter((board) => !files.includes(`${board}.dtb`));
  report.check("the boards that are there for a reason", listed(missing.map((board) => `${board} is not in ${name}`)));
}

function reportAgreement(report: Report, { differences, devices, plans }: Census): void {
  const topology = "the topology of every board agrees with a second reading";
  report.check(topology, listed(differences.topology), `${devices} devices`);
  const kinds = [...plans].map(([relation, count]) => `${count} ${relation}`).join(", ");
  report.check("so does the plan for each pair of devices", listed(differences.plans), kinds);
  // Of pairs that are all alike a plan could say anything.
  const missing = (["same", "different", "unusable"] as const).filter((each) => !plans.has(each));
  report.check("pairs are of every kind", missing.length > 0 ? `none is ${missing.join(", ")}` : undefined);
}

function reportTime(report: Report, { seconds, plans }: Census, { files }: DebianTrees): void {
  const count = [...plans.values()].reduce((sum, each) => sum + each, 0);
  const each = ((1000 * seconds) / files.length).toFixed(1);
  const measured = `${seconds.toFixed(1)} s for ${files.length} trees and ${count} plans, ${each} ms per tree`;
  report.check(`reading and planning take at most ${BUDGET} s`, seconds > BUDGET ? measured : undefined, measured);
}

/** Undefined for none. */
function listed(problems: readonly string[]): string | undefined {
  if (problems.length === 0) return undefined;
  const more = problems.length > MOST_LINES ? [`… and ${problems.length - MOST_LINES} more`] : [];
  return [`${problems.length} of them`, ...problems.slice(0, MOST_LINES), ...more].join("\n  ");
}
