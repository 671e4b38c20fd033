/** What a box of a picture stands for. */
export const graphKinds = ["interface", "device", "bus", "iommu", "memory"] as const;
export type GraphKind = (typeof graphKinds)[number];

/** A box of a picture. */
export interface GraphNode {
  readonly id: string;
  /** `interface`: a device that is one of several of an engine's. */
  readonly kind: GraphKind;
  readonly name: string;
  /** Lines below the name. */
  readonly facts: readonly string[];
  /** Firmware has switched it off. */
  readonly isOff: boolean;
}

/** A line of a picture, in the direction that DMA goes. */
export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  /** Drawn broken: Linux does not use it. */
  readonly isUnused: boolean;
}

/** A box around others: an engine around its interfaces, a group around its devices. */
export interface GraphBox {
  readonly id: string;
  readonly kind: "engine" | "group";
  readonly label: string;
  readonly boxes: readonly GraphBox[];
  readonly nodes: readonly GraphNode[];
}

/** A topology as boxes and lines: interfaces and devices, in engines and groups; what they are on; IOMMUs; memory. */
export interface Graph {
  readonly title: string;
  /** What there is, and what the picture leaves out. */
  readonly subtitle: string;
  readonly boxes: readonly GraphBox[];
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

/** What a picture shows. */
export interface PictureOptions {
  /** Also what is switched off, bridges, IOMMUs that nothing is behind, and each device of a long list. */
  readonly all?: boolean | undefined;
}

/** Every node, in boxes or not. @internal */
export function allNodes({ nodes, boxes }: Pick<Graph, "nodes" | "boxes">): readonly GraphNode[] {
  return [...boxes.flatMap(allNodes), ...nodes];
}
