import type { Topology } from "../topology.js";
import {
  allNodes,
  type Graph,
  type GraphBox,
  type GraphEdge,
  type GraphKind,
  type GraphNode,
  graphKinds,
  type PictureOptions,
} from "./graph.js";
import { graphOf } from "./graph-of.js";
import { LIGHT } from "./palette.js";

const SHAPES: Readonly<Record<GraphKind, readonly [string, string]>> = {
  interface: ["[", "]"],
  device: ["[", "]"],
  bus: [">", "]"],
  iommu: ["{{", "}}"],
  memory: ["[(", ")]"],
};

/** A topology as a Mermaid flowchart, which GitHub and others draw: interfaces and devices, IOMMUs, memory. */
export function topologyToMermaid(topology: Topology, options: PictureOptions = {}): string {
  return mermaidOf(graphOf(topology, options));
}

function mermaidOf(graph: Graph): string {
  const { title, boxes, nodes, edges } = graph;
  return `${[
    "---",
    `title: ${JSON.stringify(harmless(title))}`,
    "---",
    "flowchart LR",
    ...boxes.flatMap((box) => boxLines(box, "  ")),
    ...nodes.map((node) => `  ${nodeLine(node)}`),
    ...edges.map(edgeLine),
    ...classLines(graph),
  ].join("\n")}\n`;
}

function boxLines({ id, label, boxes, nodes }: GraphBox, margin: string): readonly string[] {
  return [
    `${margin}subgraph ${id}["${escaped(label)}"]`,
    ...boxes.flatMap((box) => boxLines(box, `${margin}  `)),
    ...nodes.map((node) => `${margin}  ${nodeLine(node)}`),
    `${margin}end`,
  ];
}

function nodeLine({ id, kind, name, facts }: GraphNode): string {
  const [open, close] = SHAPES[kind];
  return `${id}${open}"${[name, ...facts].map(escaped).join("<br>")}"${close}`;
}

function edgeLine({ from, to, label, isUnused }: GraphEdge): string {
  const arrow = isUnused ? "-.->" : "-->";
  return `  ${from} ${arrow}${label === "" ? "" : `|"${escaped(label)}"|`} ${to}`;
}

/** Text has its colour with the field's, so that both grounds do. */
function classLines(graph: Graph): readonly string[] {
  const nodes = allNodes(graph);
  const off = nodes.filter(({ isOff }) => isOff);
  const lines = graphKinds.flatMap((kind) => {
    const { fill, line, text } = LIGHT[kind];
    return classed(
      kind,
      `fill:${fill},stroke:${line},color:${text}`,
      nodes.filter((node) => node.kind === kind),
    );
  });
  return [...lines, ...classed("off", "stroke-dasharray:4 4,color:#888", off)];
}

function classed(name: string, style: string, nodes: readonly GraphNode[]): readonly string[] {
  if (nodes.length === 0) return [];
  return [`  classDef ${name} ${style}`, `  class ${nodes.map(({ id }) => id).join(",")} ${name}`];
}

/** Mermaid takes HTML's entities with `#` for `&`. */
function escaped(text: string): string {
  return harmless(text).replace(/[#"<>&]/g, (character) => `#${character.charCodeAt(0)};`);
}

function harmless(text: string): string {
  return text.replace(/[\p{Control}\p{Surrogate}]/gu, "\ufffd");
}
