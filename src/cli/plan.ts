import type { Command } from "commander";
import { helpSections } from "./help-sections.js";
import { type SourceFlags, sourceOptions } from "./machine-source.js";
import type { Streams } from "./streams.js";

/** What the user asked for on the command line. */
export interface PlanFlags extends SourceFlags {
  readonly save?: string;
  /** False with `--no-probe`. */
  readonly probe: boolean;
  readonly json?: true;
}

const SECTIONS = helpSections({
  notes: [
    "Devices are named as the kernel or firmware does: 0000:01:00.0, 01:00.0, 9030000.dma-port, dma-port@9030000, dma-port, a path, an alias. A PCI host of a device tree stands for the functions behind it. Without a device it lists what can be named.",
    "Free groups that VFIO has are opened for a moment, without their devices, to ask which addresses and page sizes they have; --no-probe leaves them alone.",
  ],
  exitCodes: {
    0: "they can share an address space, after the steps that are listed",
    1: "they cannot, or it is not known",
    2: "the command line or a source is wrong, or there is no such device",
  },
  examples: [
    ["iospan plan", "what can be named"],
    ["iospan plan 01:00.0 9030000.dma-port", "on this machine"],
    ["iospan plan -t dual-smmu 01:00.0 dma-port", "as a device tree has it"],
    ["sudo iospan plan --save machine.json", "to plan it elsewhere"],
    ["iospan plan -m machine.json 01:00.0 02:00.0", "elsewhere"],
    ["iospan plan 01:00.0 02:00.0 --json | jq .recommended", "for programs"],
  ],
});

/** Adds `iospan plan`. @param finish takes the exit code. */
export function addPlan(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  const command = program
    .command("plan")
    .summary("whether and how devices can share an address space, before anything is opened")
    .description(
      "Says whether devices can share one I/O address space, by which strategies and why not by others, what has to be done " +
        "before, which addresses and page sizes are left, and what mapping costs: here, or on a machine that was saved or " +
        "that firmware describes.",
    )
    .argument("[device...]", "devices that shall share an address space");
  for (const option of sourceOptions()) command.addOption(option);
  command
    .option("--save <file>", "save what is known of the machine, to plan elsewhere with --machine")
    .option("--no-probe", "open nothing, also no free group")
    .option("--json", "the plan as JSON")
    .addHelpText("after", SECTIONS)
    .action(async (devices: readonly string[], flags: PlanFlags) => {
      const { runPlan } = await import("./plan/run.js");
      finish(await runPlan(devices, flags, streams));
    });
}
