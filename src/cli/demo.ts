import { type Command, Option } from "commander";
import { readDeviceTree } from "../devicetree/device-tree.js";
import { simulate } from "../sim/simulate.js";
import { DEFAULT_CHIP, readChip } from "./chip-file.js";
import { approachNames } from "./demo/approaches.js";
import { demonstrate } from "./demo/demonstrate.js";
import { DEFAULT_RELEASE, type DemoFlags, readApproaches, releases } from "./demo/options.js";
import { render } from "./demo/render.js";
import type { DemoResult } from "./demo/result.js";
import { callTracer, stageMarker } from "./demo/trace.js";
import { EXIT } from "./exit-code.js";
import { writeJson } from "./failure.js";
import { shippedChips } from "./package-files.js";
import { Progress } from "./progress.js";
import type { Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";

const EXAMPLES = `
Exit code:
  0  every approach did what is known of Linux on such a machine, and one at
     least, tried or not, lets several interfaces see the same memory
  1  not so
  2  the command line or the chip is wrong

Examples:
  iospan demo                                  one engine, two SMMUs
  iospan demo --approach mirrored --trace      with every system call
  iospan demo --release 6.14                   a kernel that loses DMA
  iospan demo --chip board.dtb --json          a machine of yours
`;

/** Adds `iospan demo`. @param finish takes the exit code. */
export function addDemo(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  program
    .command("demo")
    .summary("one device behind several SMMUs, on a simulated machine")
    .description(
      "Builds a chip in which one DMA engine has two ways to memory, each behind an SMMU of its own. Tries on a simulated " +
        "Linux what makes both see the same memory, proves it with DMA, and tells what it costs and what it is good for.",
    )
    .option(
      "-a, --approach <name>",
      `what to try, several with commas or repeated: ${approachNames.join(", ")} (default: all)`,
      readApproaches,
    )
    .option(
      "-c, --chip <file>",
      `a device tree (.dts, .dtb), or one that comes with iospan: ${shippedChips().join(", ")}`,
      DEFAULT_CHIP,
    )
    .addOption(
      new Option("-r, --release <version>", "the Linux to simulate").choices(releases).default(DEFAULT_RELEASE),
    )
    .option(
      "--trace",
      "every system call on the standard error output, decoded; reads of sysfs are left out, and registers are accessed by no system call",
    )
    .option("--json", "the result as JSON")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: DemoFlags) => finish(await demo(flags, streams)));
}

async function demo(flags: DemoFlags, streams: Streams): Promise<number> {
  const result = await tryAll(flags, streams);
  if (flags.json) writeJson(streams.stdout, result);
  else {
    const paint = painter(wantsColours(streams.stdout, streams.env));
    for (const line of render(result)) streams.stdout.write(`${paint(line)}\n`);
  }
  return result.asExpected && result.spans ? EXIT.ok : EXIT.unexpected;
}

async function tryAll({ chip, approach: wanted, release, trace }: DemoFlags, streams: Streams): Promise<DemoResult> {
  const { name, content } = readChip(chip);
  const approaches = approachNames.filter((each) => wanted?.includes(each) ?? true);
  const progress = new Progress(streams.stderr, streams.env);
  // Where a trace is written, nothing else is needed to see that something goes on.
  const informed = trace
    ? { trace: callTracer(streams), say: stageMarker(streams) }
    : { say: (what: string) => progress.say(what) };
  try {
    return await demonstrate(() => simulate(content, { release }), {
      chip: name,
      tree: readDeviceTree(content),
      approaches,
      ...informed,
    });
  } finally {
    progress.done();
  }
}
