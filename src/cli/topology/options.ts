/** What `--format` takes. */
export const formats = ["tree", "json", "mermaid", "dot"] as const;
export type Format = (typeof formats)[number];

/** What `--by` takes: what the tree's trunk is made of. */
export const orders = ["iommu", "group", "bus"] as const;
export type Order = (typeof orders)[number];

/** What the user asked for on the command line. */
export interface TopologyFlags {
  readonly sysfs?: string;
  readonly deviceTree?: string;
  readonly iort?: string;
  readonly format: Format;
  readonly json?: true;
  readonly by: Order;
  readonly iommu?: string;
  readonly driver?: string;
  readonly device?: string;
  readonly watch?: true;
}
