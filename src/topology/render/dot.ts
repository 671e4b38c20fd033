import type { Topology } from "../topology.js";
import { type GraphEdge, type GraphNode, graphOf } from "./graph.js";

const SHAPES: Readonly<Record<GraphNode["shape"], string>> = {
  engine: "hexagon",
  device: "box",
  iommu: "ellipse",
  memory: "cylinder",
  group: "box",
};

/** A topology in Graphviz's language: `iospan topology --format dot | dot -Tsvg`. */
export function topologyToDot(topology: Topology): string {
  const { boxes, nodes, edges } = graphOf(topology);
  const boxLines = boxes.flatMap(({ id, label, members }) => [
    `  subgraph cluster_${id} {`,
    `    label=${quoted(label)};`,
    ...members.map((node) => `  ${nodeLine(node)}`),
    "  }",
  ]);
  const start = ["digraph topology {", "  rankdir=LR;", "  node [fontname=monospace];"];
  return `${[...start, ...boxLines, ...nodes.map(nodeLine), ...edges.map(edgeLine), "}"].join("\n")}\n`;
}

function nodeLine({ id, shape, label, isOff }: GraphNode): string {
  return `  ${id} [shape=${SHAPES[shape]}, label=${quoted(label.join("\n"))}${isOff ? ", style=dashed" : ""}];`;
}

function edgeLine({ from, to, label, isUnused }: GraphEdge): string {
  const attributes = [...(label === "" ? [] : [`label=${quoted(label)}`]), ...(isUnused ? ["style=dashed"] : [])];
  return `  ${from} -> ${to}${attributes.length > 0 ? ` [${attributes.join(", ")}]` : ""};`;
}

function quoted(text: string): string {
  const escaped = text.replace(/["\\]/g, "\\$&").replaceAll("\n", "\\n");
  return `"${escaped.replace(/\p{Control}/gu, "\ufffd")}"`;
}
