import { type Command, Option } from "commander";
import { topologyToDot } from "../topology/render/dot.js";
import { topologyToJson } from "../topology/render/json.js";
import { topologyToMermaid } from "../topology/render/mermaid.js";
import { selectTopology } from "../topology/select.js";
import type { Topology } from "../topology/topology.js";
import { EXIT } from "./exit-code.js";
import type { Streams } from "./streams.js";
import { painter, wantsColours } from "./text/colours.js";
import { formats, orders, type TopologyFlags } from "./topology/options.js";
import { renderTopology } from "./topology/render.js";
import { readSources } from "./topology/sources.js";
import { watch } from "./topology/watch.js";

const EXAMPLES = `
Sources are merged when several are given, and compared: where the kernel and
firmware do not agree there is a finding.

Exit code:
  0  shown
  1  there is no IOMMU, or none with what was asked for
  2  the command line or a source is wrong

Examples:
  iospan topology                                 this machine
  iospan topology --by group --driver vfio-pci    what VFIO has
  iospan topology --device-tree board.dtb         a board, from its blob
  iospan topology --sysfs copy --iort IORT.bin    another machine's files
  iospan topology --format dot | dot -Tsvg        a picture
  iospan topology --device-tree dual-smmu --format mermaid
`;

/** Adds `iospan topology`. @param finish takes the exit code. */
export function addTopology(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  program
    .command("topology")
    .summary("which devices are behind which IOMMU, here or in a file")
    .description(
      "Shows IOMMUs, their groups and the devices in them: of this machine, of a copy of its sysfs, or as a device tree or " +
        "an ACPI table describes them. Says which of several IOMMUs of a device Linux uses, and what is switched off.",
    )
    .option("-s, --sysfs <folder>", "a sysfs: /sys, or a copy that has kept its links")
    .option("-t, --device-tree <file>", "a device tree (.dts, .dtb), or a chip that comes with iospan")
    .option("-i, --iort <file>", "a binary ACPI table: IORT (Arm), DMAR (Intel) or IVRS (AMD)")
    .addOption(new Option("-f, --format <name>", "how to show it").choices(formats).default("tree"))
    .option("--json", "the same as --format json")
    .addOption(new Option("-b, --by <what>", "what the tree goes by").choices(orders).default("iommu"))
    .option("--iommu <text>", "only IOMMUs with this in their name, kind or path")
    .option("--driver <name>", "only devices with this driver; none for those without")
    .option("--device <text>", "only devices with this in their name, path or compatible")
    .option("-w, --watch", "look every second, and show it again when it has changed")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: TopologyFlags) => finish(await showTopology(flags, streams)));
}

async function showTopology(flags: TopologyFlags, streams: Streams): Promise<number> {
  const read = () => selectTopology(readSources(flags), flags);
  if (flags.watch === true) await watch(() => formatted(read(), flags, streams), streams.stdout);
  const topology = read();
  streams.stdout.write(formatted(topology, flags, streams));
  return topology.iommus.length > 0 ? EXIT.ok : EXIT.unexpected;
}

function formatted(topology: Topology, { json, format, by }: TopologyFlags, { stdout, env }: Streams): string {
  switch (json === true ? "json" : format) {
    case "json":
      return `${JSON.stringify(topologyToJson(topology), undefined, 2)}\n`;
    case "mermaid":
      return topologyToMermaid(topology);
    case "dot":
      return topologyToDot(topology);
    case "tree": {
      const paint = painter(wantsColours(stdout, env));
      return renderTopology(topology, by)
        .map((line) => `${paint(line)}\n`)
        .join("");
    }
  }
}
