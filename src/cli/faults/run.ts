import { Readable } from "node:stream";
import { IospanError } from "../../errors.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import type { Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import type { Line } from "../text/line.js";
import { type Explain, openExplainer } from "./explainer.js";
import { type Findings, findFaults } from "./findings.js";
import { itemJson, reportJson } from "./json.js";
import { type OpenLog, openLog, STANDARD_INPUT } from "./open-log.js";
import type { FaultsFlags } from "./options.js";
import { renderAgain, renderGroup, renderNotice, renderReport } from "./render.js";

/** `iospan faults`. @param wanted the log, as openLog() takes it. @returns the exit code */
export async function faults(wanted: string | undefined, flags: FaultsFlags, streams: Streams): Promise<number> {
  if (flags.follow && wanted !== undefined && wanted !== STANDARD_INPUT) throw cannotFollow(wanted);
  const { explain, savedLog } = await openExplainer(wanted, flags);
  if (flags.follow && savedLog !== undefined) throw cannotFollowSaved();
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort();
  // Ctrl-C is how following ends; otherwise it is the end of the process, as everywhere.
  if (flags.follow) process.once("SIGINT", interrupt);
  try {
    const options = { follow: flags.follow === true, signal: interrupted.signal };
    const log = savedLog === undefined ? openLog(wanted, options) : savedLogOf(savedLog);
    const findings = await (flags.follow ? follow(log, explain, flags, streams) : findFaults(log));
    if (!flags.follow) tell(findings, explain, flags, streams);
    return findings.groups.length + findings.notices.length === 0 ? EXIT.ok : EXIT.unexpected;
  } finally {
    process.off("SIGINT", interrupt);
  }
}

function savedLogOf(lines: readonly string[]): OpenLog {
  return { name: "the saved machine's log", lines: Readable.from(lines) };
}

function tell(findings: Findings, explain: Explain, { json }: FaultsFlags, streams: Streams): void {
  if (json) writeJson(streams.stdout, reportJson(findings, explain));
  else writeLines(renderReport(findings, explain), streams);
}

function follow(log: OpenLog, explain: Explain, { json }: FaultsFlags, streams: Streams): Promise<Findings> {
  let groups = 0;
  const words = { explain, said: new Map<string, number>() };
  return findFaults(log, ({ group, notice }) => {
    if (json) streams.stdout.write(`${JSON.stringify(itemJson({ group, notice }, explain))}\n`);
    else if (notice !== undefined) writeLines(renderNotice(notice), streams);
    else if (group !== undefined && group.count > 1) writeLines(renderAgain(group, explain), streams);
    else if (group !== undefined) writeLines(renderGroup(group, ++groups, words), streams);
  });
}

function writeLines(lines: readonly Line[], { stdout, env }: Streams): void {
  const paint = painter(wantsColours(stdout, env));
  for (const line of lines) stdout.write(`${paint(line)}\n`);
}

function cannotFollow(file: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `--follow cannot follow the file ${file}`, {
    hint: `tail -F ${file} | iospan faults --follow -`,
  });
}

function cannotFollowSaved(): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "--follow cannot follow the log of a saved machine", {
    hint: "leave out --follow: nothing will be added to it",
  });
}
