import type { Topology } from "../topology.js";
import type { Graph, GraphBox, GraphEdge, GraphKind, GraphNode, PictureOptions } from "./graph.js";
import { graphOf } from "./graph-of.js";
import { LIGHT, MIDDLE } from "./palette.js";

const SHAPES: Readonly<Record<GraphKind, string>> = {
  interface: "box",
  device: "box",
  bus: "box",
  iommu: "box",
  memory: "cylinder",
};
/** Every character is as wide as the others, so that boxes fit their text whatever font a reader has for it. */
const FONT = "Courier";
/** Points. */
const SMALL = 10;

/**
 * A topology in Graphviz's language: `iospan topology --format dot | dot -Tsvg`. What boxes stand for is their class
 * (`interface`, `device`, `bus`, `iommu`, `memory`, `engine`, `group`; `off`, `unused`), by which a style sheet can change an SVG.
 */
export function topologyToDot(topology: Topology, options: PictureOptions = {}): string {
  return dotOf(graphOf(topology, options));
}

function dotOf({ title, subtitle, boxes, nodes, edges }: Graph): string {
  const iommus = nodes.filter(({ kind }) => kind === "iommu").map(({ id }) => `${id};`);
  return `${[
    `digraph ${quoted(title)} {`,
    `  rankdir=LR; bgcolor="transparent"; ranksep=0.7; nodesep=0.25; labelloc=t; compound=true;`,
    `  fontname="${FONT}"; fontcolor="${MIDDLE}";`,
    `  label=${rich(title, [subtitle])};`,
    `  node [fontname="${FONT}", fontsize=12, style="filled,rounded", margin="0.15,0.1"];`,
    `  edge [fontname="${FONT}", fontsize=${SMALL}, color="${MIDDLE}", fontcolor="${MIDDLE}", arrowsize=0.7];`,
    ...boxes.flatMap((box) => boxLines(box, "  ")),
    ...nodes.map((node) => `  ${nodeLine(node)}`),
    // One below the other, however many steps there are before each.
    ...(iommus.length > 1 ? [`  { rank=same; ${iommus.join(" ")} }`] : []),
    ...edges.map(edgeLine),
    "}",
  ].join("\n")}\n`;
}

function boxLines({ id, kind, label, boxes, nodes }: GraphBox, margin: string): readonly string[] {
  const style =
    kind === "engine" ? `style="rounded", color="${LIGHT.interface.line}", penwidth=2` : `style="rounded,dashed"`;
  return [
    `${margin}subgraph cluster_${id} {`,
    `${margin}  class="${kind}"; label=${rich(label, [])}; labeljust=l; fontsize=11; color="${MIDDLE}"; ${style.replaceAll(", ", "; ")};`,
    ...boxes.flatMap((box) => boxLines(box, `${margin}  `)),
    ...nodes.map((node) => `${margin}  ${nodeLine(node)}`),
    `${margin}}`,
  ];
}

function nodeLine({ id, kind, name, facts, isOff }: GraphNode): string {
  const { fill, line, text } = LIGHT[kind];
  const attributes = [
    `class="${kind}${isOff ? " off" : ""}"`,
    `shape=${SHAPES[kind]}`,
    ...(kind === "iommu" ? ["style=filled", "peripheries=2"] : []),
    `label=${rich(name, facts)}`,
    `fillcolor="${fill}"`,
    `color="${line}"`,
    `fontcolor="${text}"`,
    ...(isOff ? [`style="filled,dashed"`] : []),
  ];
  return `${id} [${attributes.join(", ")}];`;
}

function edgeLine({ from, to, label, isUnused }: GraphEdge): string {
  const attributes = [
    ...(label === "" ? [] : [`label=${quoted(` ${label} `)}`]),
    ...(isUnused ? [`style=dashed`, `class="unused"`] : []),
  ];
  return `  ${from} -> ${to}${attributes.length > 0 ? ` [${attributes.join(", ")}]` : ""};`;
}

/** A bold line, and small ones below it. */
function rich(name: string, facts: readonly string[]): string {
  const small = facts.map((fact) => `<br/><font point-size="${SMALL}">${escaped(fact)}</font>`);
  return `<<b>${escaped(name)}</b>${small.join("")}>`;
}

function escaped(text: string): string {
  // An empty element is a syntax error for Graphviz.
  return text === "" ? " " : harmless(text).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function quoted(text: string): string {
  return `"${harmless(text).replace(/["\\]/g, "\\$&")}"`;
}

/** Without what XML has no room for. */
function harmless(text: string): string {
  return text.replace(/[\p{Control}\p{Surrogate}]/gu, "\ufffd");
}
