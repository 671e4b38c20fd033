import { type Command, Option } from "commander";
import { helpSections } from "./help-sections.js";
import { sourceOptions } from "./machine-source.js";
import type { Streams } from "./streams.js";
import { formats, orders, type TopologyFlags } from "./topology/options.js";

const SECTIONS = helpSections({
  notes: [
    "Sources are merged when several are given, and compared: where the kernel and firmware do not agree there is a finding.",
  ],
  exitCodes: {
    0: "shown",
    1: "there is no IOMMU, or none with what was asked for",
    2: "the command line or a source is wrong",
  },
  examples: [
    ["iospan topology", "this machine"],
    ["iospan topology --by group --driver vfio-pci", "what VFIO has"],
    ["iospan topology --device-tree board.dtb", "a board, from its blob"],
    ["iospan topology --sysfs copy --iort IORT.bin", "another machine's files"],
    ["iospan topology --format svg > machine.svg", "a picture"],
    ["iospan topology --device-tree dual-smmu --format mermaid", "a chip of the package's, as a picture for documents"],
    ["iospan topology --machine saved.json", "a machine that was saved"],
  ],
});

/** Adds `iospan topology`. @param finish takes the exit code. */
export function addTopology(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  const command = program
    .command("topology")
    .summary("which devices are behind which IOMMU, here or in a file")
    .description(
      "Shows IOMMUs, their groups and the devices in them: of this machine, of a copy of its sysfs, or as a device tree or " +
        "an ACPI table describes them. Says which of several IOMMUs of a device Linux uses, and what is switched off.",
    );
  for (const option of sourceOptions()) command.addOption(option);
  command
    .addOption(new Option("-f, --format <name>", "how to show it").choices(formats).default("tree"))
    .option("--json", "the same as --format json")
    .addOption(new Option("-b, --by <what>", "what the tree goes by").choices(orders).default("iommu"))
    .option("-a, --all", "also what is switched off, and each device of long lists")
    .option("--iommu <text>", "only IOMMUs with this in their name, kind or path")
    .option("--group <number>", "only this group; none for devices that are in none")
    .option("--bus <name>", "only devices of this bus: pci, platform, …")
    .option("--driver <name>", "only devices with this driver; none for those without")
    .option("--device <text>", "only devices with this in their name, path or compatible")
    .option("-w, --watch", "look every second, and show it again when it has changed")
    .addHelpText("after", SECTIONS)
    .action(async (flags: TopologyFlags) => {
      const { showTopology } = await import("./topology/run.js");
      finish(await showTopology(flags, streams));
    });
}
