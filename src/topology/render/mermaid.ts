import type { Topology } from "../topology.js";
import { type GraphEdge, type GraphNode, graphOf } from "./graph.js";

const SHAPES: Readonly<Record<GraphNode["shape"], readonly [string, string]>> = {
  engine: ["{{", "}}"],
  device: ["[", "]"],
  iommu: ["([", "])"],
  memory: ["[(", ")]"],
  group: ["[", "]"],
};

/** A topology as a Mermaid flowchart, which GitHub and others draw: engines, devices, IOMMUs, memory. */
export function topologyToMermaid(topology: Topology): string {
  const { boxes, nodes, edges } = graphOf(topology);
  const boxLines = boxes.flatMap(({ id, label, members }) => [
    `  subgraph ${id}["${escaped(label)}"]`,
    ...members.map((node) => `  ${nodeLine(node)}`),
    "  end",
  ]);
  const off = [...nodes, ...boxes.flatMap(({ members }) => members)].filter(({ isOff }) => isOff);
  const offLines =
    off.length > 0
      ? ["  classDef off stroke-dasharray: 4 4,color:#888", `  class ${off.map(({ id }) => id).join(",")} off`]
      : [];
  return `${["flowchart LR", ...boxLines, ...nodes.map(nodeLine), ...edges.map(edgeLine), ...offLines].join("\n")}\n`;
}

function nodeLine({ id, shape, label }: GraphNode): string {
  const [open, close] = SHAPES[shape];
  return `  ${id}${open}"${label.map(escaped).join("<br>")}"${close}`;
}

function edgeLine({ from, to, label, isUnused }: GraphEdge): string {
  const arrow = isUnused ? "-.->" : "-->";
  return `  ${from} ${arrow}${label === "" ? "" : `|"${escaped(label)}"|`} ${to}`;
}

/** Mermaid takes HTML's entities with `#` for `&`. */
function escaped(text: string): string {
  return text.replace(/[#"<>&]/g, (character) => `#${character.charCodeAt(0)};`).replace(/\p{Control}/gu, "\ufffd");
}
