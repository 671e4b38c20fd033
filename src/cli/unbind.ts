import type { Command } from "commander";
import type { UnbindFlags } from "./bind/options.js";
import { helpSections } from "./help-sections.js";
import type { Streams } from "./streams.js";

const SECTIONS = helpSections({
  notes: [
    "A device that iospan bound goes back to exactly the driver and driver_override that it had. For another one the override is cleared, and the kernel finds a driver. All devices go, or none.",
  ],
  exitCodes: {
    0: "done",
    1: "refused or failed: every device is where it was",
    2: "the command line is wrong",
  },
  examples: [
    ["sudo iospan unbind 0000:01:00.0", "back to where it was"],
    ["sudo iospan unbind --all", "all that iospan bound"],
    ["iospan unbind --dry-run --all", "the commands alone"],
    ["sudo iospan unbind --driver nvme 0000:01:00.0", "to another driver"],
    ["sudo iospan unbind --persist 0000:01:00.0", "at the next boot as well"],
  ],
});

/** Adds `iospan unbind`. @param finish takes the exit code. */
export function addUnbind(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  program
    .command("unbind")
    .summary("devices from VFIO back to where they were")
    .description("Gives devices that are on VFIO back to their drivers.")
    .argument("[devices...]", "kernel names: 0000:01:00.0, 01:00.0, 9030000.dma-port")
    .option("-a, --all", "all that iospan bound")
    .option("-g, --group", "the other devices of their IOMMU groups that are on VFIO, too")
    .option("--driver <name>", "a driver other than the one they had")
    .option("-n, --dry-run", "show the commands, and change nothing")
    .option("-f, --force", "also devices that somebody else has moved since")
    .option("--persist", "also remove what bind --persist=write wrote")
    .option("--json", "the result as JSON")
    .addHelpText("after", SECTIONS)
    .action(async (devices: readonly string[], flags: UnbindFlags) => {
      const { runUnbind } = await import("./bind/run-unbind.js");
      finish(await runUnbind(devices, flags, streams));
    });
}
