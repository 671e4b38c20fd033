import type { Command } from "commander";
import type { DoctorFlags } from "./doctor/options.js";
import { helpSections } from "./help-sections.js";
import { sourceOptions } from "./machine-source.js";
import type { Streams } from "./streams.js";

const SECTIONS = helpSections({
  notes: [
    "Without devices it examines those that VFIO has or shall have (driver_override), and the machine itself. Groups that VFIO has and nobody holds are opened for a moment, without their devices; --no-probe leaves them alone.",
    "What is found is told in the order in which it should be mended: what comes first may be the reason for the rest.",
  ],
  exitCodes: {
    0: "nothing that does not work; there may be warnings, and what could not be checked",
    1: "something does not work: FAIL",
    2: "the command line or a source is wrong, or there is no such device",
  },
  examples: [
    ["sudo iospan doctor", "this machine, and what VFIO has"],
    ["sudo iospan doctor 0000:01:00.0 9030000.dma-port", "what keeps these two from one address space"],
    ["iospan doctor --explain IOSPAN-MEMLOCK", "what a check is about, and how to mend it"],
    ["iospan doctor --only memlock,faults", "two checks"],
    ["iospan doctor --machine saved.json --json", "a machine that was saved, for programs"],
  ],
});

/** Adds `iospan doctor`. @param finish takes the exit code. */
export function addDoctor(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  const command = program
    .command("doctor")
    .summary("what keeps devices from user space, and how to mend it")
    .description(
      "Checks what goes wrong on real machines between a device and user space: the IOMMU, VFIO's modules and drivers, groups, " +
        "permissions, limits, and what the kernel's log says. Names what is wrong, where that is seen, and the commands that mend it.",
    )
    .argument("[device...]", "kernel names, PCI addresses, or paths in the device tree");
  for (const option of sourceOptions()) command.addOption(option);
  command
    .option("--no-probe", "open no groups: tell from files alone")
    .option("--only <ids>", "only these checks, several with commas or repeated", joined)
    .option("--list", "all checks there are")
    .option("--explain <id>", "the page of a check")
    .option("--json", "the result as JSON")
    .addHelpText("after", SECTIONS)
    .action(async (devices: readonly string[], flags: DoctorFlags) => {
      const { doctor } = await import("./doctor/run.js");
      finish(await doctor(devices, flags, streams));
    });
}

function joined(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...text.split(",")];
}
