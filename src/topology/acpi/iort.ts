import { openTable, type TableBytes } from "./table.js";

/** An ID mapping of a node (Arm DEN 0049, 3.1.1.2). */
export interface IortMapping {
  readonly input: number;
  /** The last input: the table counts the IDs less one. */
  readonly last: number;
  readonly output: number;
  /** The node the output IDs are for, by its offset in the table. */
  readonly target: number;
  /** Whatever the input is, the output is `output`. */
  readonly single: boolean;
}

/** What an RMR node keeps (Arm DEN 0049E, 3.1.1.5). */
export interface IortMemoryRange {
  readonly start: bigint;
  readonly length: bigint;
}

/** How a device accesses memory (Arm DEN 0049E, table 14). */
export interface IortMemoryAccess {
  /** CCA: the device is fully coherent. */
  readonly coherent: boolean;
  /** Bit 0, CPM: its way to memory is coherent. Bit 1, DACS: its attributes are cacheable and shareable. Bit 2, CANWBS. */
  readonly flags: number;
}

/** What each type of node says besides its mappings. */
export type IortBody =
  | { readonly type: "its-group"; readonly its: readonly number[] }
  | {
      readonly type: "named-component";
      readonly name: string;
      readonly flags: number;
      readonly memory: IortMemoryAccess;
    }
  | {
      readonly type: "root-complex";
      readonly segment: number;
      readonly ats: boolean;
      readonly memory: IortMemoryAccess;
    }
  | {
      readonly type: "smmu";
      readonly address: bigint;
      readonly span: bigint;
      readonly model: number;
      readonly flags: number;
    }
  | {
      readonly type: "smmu-v3";
      readonly address: bigint;
      readonly model: number;
      readonly flags: number;
      /** The mapping that is for the SMMU's own MSIs; undefined where there is none. */
      readonly ownMapping: number | undefined;
    }
  | { readonly type: "pmcg"; readonly address: bigint; readonly target: number; readonly page1: bigint | undefined }
  | { readonly type: "rmr"; readonly remap: boolean; readonly ranges: readonly IortMemoryRange[] }
  | { readonly type: "iwb"; readonly address: bigint; readonly index: number; readonly name: string }
  | { readonly type: "unknown"; readonly number: number };

/** A node of an IORT. */
export interface IortNode {
  /** Its offset in the table, by which others refer to it. */
  readonly offset: number;
  readonly revision: number;
  readonly identifier: number;
  readonly body: IortBody;
  readonly mappings: readonly IortMapping[];
}

/** An IO Remapping Table: which SMMUs an Arm machine with ACPI has, and which IDs of what reach them. */
export interface Iort {
  readonly revision: number;
  readonly nodes: ReadonlyMap<number, IortNode>;
}

const FIRST_FIELDS = 48;
const NODE_HEADER = 16;
const MAPPING_SIZE = 20;
const RMR_SIZE = 20;
const SINGLE = 1;
/** SMMUv3's flag for a valid ID mapping index, since revision 5 (before, it counts where no interrupt is wired). */
const DEVICE_ID_VALID = 1 << 4;

/** Node types by number. */
export const IORT_TYPES = [
  "its-group",
  "named-component",
  "root-complex",
  "smmu",
  "smmu-v3",
  "pmcg",
  "rmr",
  "iwb",
] as const;

/**
 * Reads an IORT (Arm DEN 0049, revisions 0 to E.f).
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for anything malformed, with the offset in the table.
 */
export function parseIort(bytes: Uint8Array): Iort {
  const table = openTable(bytes, "IORT");
  const count = table.u32(36);
  const nodes = new Map<number, IortNode>();
  let at = table.u32(40);
  if (at < FIRST_FIELDS && count > 0) table.fail(40, `the first node at 0x${at.toString(16)} is inside the header`);
  for (let index = 0; index < count; index++) {
    const length = table.u16(at + 1);
    if (length < NODE_HEADER) table.fail(at + 1, `a node of ${length} bytes has no room for its header`);
    nodes.set(at, readNode(table.part(at, length)));
    at += length;
  }
  for (const node of nodes.values()) checkTargets(table, node, nodes);
  return { revision: table.u8(8), nodes };
}

function readNode(bytes: TableBytes): IortNode {
  const [count, at] = [bytes.u32(8), bytes.u32(12)];
  const type = bytes.u8(0);
  // Before the loop, so that a wild count is refused rather than gone through.
  bytes.part(count === 0 ? 0 : at, count * MAPPING_SIZE);
  return {
    offset: bytes.start,
    revision: bytes.u8(3),
    identifier: bytes.u32(4),
    body: readBody(bytes, type),
    mappings: Array.from({ length: count }, (_, index) =>
      readMapping(bytes.part(at + index * MAPPING_SIZE, MAPPING_SIZE)),
    ),
  };
}

function readMapping(bytes: TableBytes): IortMapping {
  const [input, count] = [bytes.u32(0), bytes.u32(4)];
  if (input + count > 0xffff_ffff)
    bytes.fail(4, `a mapping of ${count + 1} IDs from 0x${input.toString(16)} has too many`);
  return {
    input,
    last: input + count,
    output: bytes.u32(8),
    target: bytes.u32(12),
    single: (bytes.u32(16) & SINGLE) !== 0,
  };
}

function readBody(node: TableBytes, number: number): IortBody {
  const type = IORT_TYPES[number];
  switch (type) {
    case "its-group":
      return { type, its: readIts(node) };
    case "named-component":
      return { type, name: node.text(29), flags: node.u32(16), memory: readMemoryAccess(node, 20) };
    case "root-complex":
      return { type, segment: node.u32(28), ats: (node.u32(24) & 1) !== 0, memory: readMemoryAccess(node, 16) };
    case "smmu":
      return { type, address: node.u64(16), span: node.u64(24), model: node.u32(32), flags: node.u32(36) };
    case "smmu-v3":
      return readSmmuV3(node);
    case "pmcg":
      return { type, address: node.u64(16), target: node.u32(28), page1: node.length >= 40 ? node.u64(32) : undefined };
    case "rmr":
      return { type, remap: (node.u32(16) & 1) !== 0, ranges: readRanges(node) };
    case "iwb":
      return { type, address: node.u64(16), index: node.u16(24), name: node.text(26) };
    default:
      return { type: "unknown", number };
  }
}

function readMemoryAccess(node: TableBytes, at: number): IortMemoryAccess {
  return { coherent: node.u32(at) === 1, flags: node.u8(at + 7) };
}

function readIts(node: TableBytes): readonly number[] {
  const count = node.u32(16);
  const ids = node.part(20, count * 4);
  return Array.from({ length: count }, (_, index) => ids.u32(index * 4));
}

/** Which mapping is the SMMU's own depends on the node's revision (drivers/acpi/arm64/iort.c, iort_get_smmu_v3_id_mapping_index). */
function readSmmuV3(node: TableBytes): IortBody {
  const [flags, revision] = [node.u32(24), node.u8(3)];
  const wired = [44, 48, 52, 56].every((at) => node.u32(at) !== 0);
  const valid = revision > 4 ? (flags & DEVICE_ID_VALID) !== 0 : revision >= 1 && !wired;
  const index = valid && node.length >= 68 ? node.u32(64) : undefined;
  const ownMapping = index !== undefined && index < node.u32(8) ? index : undefined;
  return { type: "smmu-v3", address: node.u64(16), model: node.u32(40), flags, ownMapping };
}

function readRanges(node: TableBytes): readonly IortMemoryRange[] {
  const [count, at] = [node.u32(20), node.u32(24)];
  const rows = node.part(count === 0 ? 0 : at, count * RMR_SIZE);
  return Array.from({ length: count }, (_, index) => ({
    start: rows.u64(index * RMR_SIZE),
    length: rows.u64(index * RMR_SIZE + 8),
  }));
}

/** A reference of 0 is a bug that firmware has, and Linux passes over. */
function checkTargets(table: TableBytes, { offset, mappings }: IortNode, nodes: ReadonlyMap<number, IortNode>): void {
  for (const { target } of mappings) {
    if (target === 0 || nodes.has(target)) continue;
    table.fail(offset, `a mapping of this node leads to 0x${target.toString(16)}, where no node begins`);
  }
}
