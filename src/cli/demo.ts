import { type Command, Option } from "commander";
import { DEFAULT_CHIP } from "./chip-file.js";
import { approachNames } from "./demo/approaches.js";
import { DEFAULT_RELEASE, type DemoFlags, readApproaches, releases } from "./demo/options.js";
import { helpSections } from "./help-sections.js";
import { shippedChips } from "./package-files.js";
import type { Streams } from "./streams.js";

const SECTIONS = helpSections({
  exitCodes: {
    0: "every approach did what is known of Linux on such a machine, and one at least, tried or not, lets several interfaces see the same memory",
    1: "not so",
    2: "the command line or the chip is wrong",
  },
  examples: [
    ["iospan demo", "one engine, two SMMUs"],
    ["iospan demo --approach mirrored --trace", "with every system call"],
    ["iospan demo --release 6.14", "a kernel that loses DMA"],
    ["iospan demo --chip board.dtb --json", "a machine of yours"],
  ],
});

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
    .addHelpText("after", SECTIONS)
    .action(async (flags: DemoFlags) => {
      const { demo } = await import("./demo/run.js");
      finish(await demo(flags, streams));
    });
}
