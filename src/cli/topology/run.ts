import { IospanError } from "../../errors.js";
import { topologyToDot } from "../../topology/render/dot.js";
import { topologyToJson } from "../../topology/render/json.js";
import { topologyToMermaid } from "../../topology/render/mermaid.js";
import { selectTopology, type TopologySelection } from "../../topology/select.js";
import type { Topology } from "../../topology/topology.js";
import { EXIT } from "../exit-code.js";
import { readTopology } from "../machine/read-topology.js";
import type { Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import { isNothing, renderNothing } from "./nothing-found.js";
import type { TopologyFlags } from "./options.js";
import { renderTopology } from "./render.js";
import { watch } from "./watch.js";

/** What is shown of a topology. */
interface Selected {
  readonly all: Topology;
  readonly topology: Topology;
  readonly selection: TopologySelection;
}

/** `iospan topology`. @returns the exit code */
export async function showTopology(flags: TopologyFlags, streams: Streams): Promise<number> {
  const { iommu, bus, driver, device } = flags;
  const selection = { iommu, bus, driver, device, group: groupOf(flags.group) };
  const read = () => {
    const all = readTopology(flags);
    return { all, topology: selectTopology(all, selection), selection };
  };
  if (flags.watch === true) return watchTopology(read, flags, streams);
  const selected = read();
  streams.stdout.write(await formatted(selected, flags, streams));
  return selected.topology.iommus.length > 0 ? EXIT.ok : EXIT.unexpected;
}

/** Ctrl-C is how watching ends, and no failure. */
async function watchTopology(read: () => Selected, flags: TopologyFlags, streams: Streams): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort();
  process.once("SIGINT", interrupt);
  try {
    let last: Selected | undefined;
    const show = () => {
      last = read();
      return formatted(last, flags, streams);
    };
    await watch(show, streams.stdout, { signal: interrupted.signal });
    return (last?.topology.iommus.length ?? 0) > 0 ? EXIT.ok : EXIT.unexpected;
  } finally {
    process.off("SIGINT", interrupt);
  }
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what is no group. */
function groupOf(text: string | undefined): number | "none" | undefined {
  if (text === undefined || text === "none") return text;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `--group takes a number or none, not ${JSON.stringify(text)}`, {
    hint: "iospan topology --by group shows the groups there are",
  });
}

async function formatted(
  { all: whole, topology, selection }: Selected,
  { json, format, by, all }: TopologyFlags,
  { stdout, env }: Streams,
): Promise<string> {
  switch (json === true ? "json" : format) {
    case "json":
      return `${JSON.stringify(topologyToJson(topology), undefined, 2)}\n`;
    case "mermaid":
      return topologyToMermaid(topology, { all });
    case "dot":
      return topologyToDot(topology, { all });
    case "svg": {
      const { drawSvg } = await import("./svg.js");
      return drawSvg(topologyToDot(topology, { all }));
    }
    case "tree": {
      const paint = painter(wantsColours(stdout, env));
      const lines = isNothing(topology, selection)
        ? renderNothing(whole, selection)
        : renderTopology(topology, { by, all });
      return lines.map((line) => `${paint(line)}\n`).join("");
    }
  }
}
