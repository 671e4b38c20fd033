import type { SourceFlags } from "../machine-source.js";

/** What `--format` takes. */
export const formats = ["tree", "json", "mermaid", "dot", "svg"] as const;
export type Format = (typeof formats)[number];

/** What `--by` takes: what the tree's trunk is made of. */
export const orders = ["iommu", "group", "bus"] as const;
export type Order = (typeof orders)[number];

/** What the user asked for on the command line. */
export interface TopologyFlags extends SourceFlags {
  readonly format: Format;
  readonly all?: true;
  readonly json?: true;
  readonly by: Order;
  readonly iommu?: string;
  readonly group?: string;
  readonly bus?: string;
  readonly driver?: string;
  readonly device?: string;
  readonly watch?: true;
}
