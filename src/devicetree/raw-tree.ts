/** A range of physical memory that `/memreserve/` keeps from the kernel. */
export interface MemoryReservation {
  readonly address: bigint;
  readonly size: bigint;
}

/** A node as a file has it: nothing is understood yet. */
export interface RawNode {
  /** With its unit address; empty for the root. */
  readonly name: string;
  readonly properties: ReadonlyMap<string, Uint8Array>;
  readonly children: readonly RawNode[];
  /** Only a source has labels. */
  readonly labels?: readonly string[];
}

/** What a blob or a source holds. */
export interface RawTree {
  readonly root: RawNode;
  readonly reservations: readonly MemoryReservation[];
  /** Physical number of the CPU that boots. */
  readonly bootCpu: number;
}

/** How deep nodes may be nested: Linux unflattens no deeper tree (drivers/of/fdt.c, FDT_MAX_DEPTH). */
export const MAX_DEPTH = 64;

/** What names of nodes and properties are made of (dtc-lexer.l, PROPNODECHAR). */
export const NAME_PATTERN: RegExp = /^[\w,.+*#?@-]+$/;
