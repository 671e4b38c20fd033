import type { Command } from "commander";
import { IospanError } from "../errors.js";
import { EXIT } from "./exit-code.js";
import { writeJson } from "./failure.js";
import { type Findings, findFaults } from "./faults/findings.js";
import { itemJson, reportJson } from "./faults/json.js";
import { type OpenLog, openLog, STANDARD_INPUT } from "./faults/open-log.js";
import { renderAgain, renderGroup, renderNotice, renderReport } from "./faults/render.js";
import type { Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";
import type { Line } from "./text/line.js";

/** What the user asked for on the command line. */
interface FaultsFlags {
  readonly follow?: true;
  readonly json?: true;
}

const EXAMPLES = `
Understands what the kernel's drivers arm-smmu-v3, arm-smmu, Intel VT-d (DMAR)
and AMD-Vi say, as dmesg, journalctl -k, syslog or /dev/kmsg have it.

Exit code:
  0  no IOMMU refused anything, as far as the log goes
  1  faults were found, or messages that some were lost
  2  the command line is wrong, or the log cannot be read

Examples:
  sudo iospan faults                           this machine's log
  sudo iospan faults --follow                  as they come, until Ctrl-C
  iospan faults dmesg.txt                      a log that somebody sent
  journalctl -k -b -1 | iospan faults -        the boot before this one
  journalctl -kf | iospan faults --follow -    as they come
  iospan faults dmesg.txt --json | jq '.groups[].fault.address'
`;

/** Adds `iospan faults`. @param finish takes the exit code. */
export function addFaults(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  program
    .command("faults")
    .summary("what IOMMUs refused, from the kernel's log, in words")
    .description(
      "Finds in a kernel log the DMA that IOMMUs refused, decodes each record, counts those that repeat, and says what they " +
        "mean for a device in user space's hands and what to do.",
    )
    .argument("[log]", "a file, or - for the standard input (default: this machine's log)")
    .option("-f, --follow", "tell faults as they come; with --json one document a line")
    .option("--json", "the result as JSON")
    .addHelpText("after", EXAMPLES)
    .action(async (log: string | undefined, flags: FaultsFlags) => finish(await faults(log, flags, streams)));
}

async function faults(wanted: string | undefined, flags: FaultsFlags, streams: Streams): Promise<number> {
  if (flags.follow && wanted !== undefined && wanted !== STANDARD_INPUT) throw cannotFollow(wanted);
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort();
  // Ctrl-C is how following ends; otherwise it is the end of the process, as everywhere.
  if (flags.follow) process.once("SIGINT", interrupt);
  try {
    const log = openLog(wanted, { follow: flags.follow === true, signal: interrupted.signal });
    const findings = await (flags.follow ? follow(log, flags, streams) : findFaults(log));
    if (!flags.follow) tell(findings, flags, streams);
    return findings.groups.length + findings.notices.length === 0 ? EXIT.ok : EXIT.unexpected;
  } finally {
    process.off("SIGINT", interrupt);
  }
}

function tell(findings: Findings, { json }: FaultsFlags, streams: Streams): void {
  if (json) writeJson(streams.stdout, reportJson(findings));
  else writeLines(renderReport(findings), streams);
}

function follow(log: OpenLog, { json }: FaultsFlags, streams: Streams): Promise<Findings> {
  let groups = 0;
  const said = new Map<string, number>();
  return findFaults(log, ({ group, notice }) => {
    if (json) streams.stdout.write(`${JSON.stringify(itemJson({ group, notice }))}\n`);
    else if (notice !== undefined) writeLines(renderNotice(notice), streams);
    else if (group !== undefined && group.count > 1) writeLines(renderAgain(group), streams);
    else if (group !== undefined) writeLines(renderGroup(group, ++groups, said), streams);
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
