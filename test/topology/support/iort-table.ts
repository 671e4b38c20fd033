import { IORT_TYPES, type IortBody, type IortMapping } from "../../../src/topology/acpi/iort.js";
import { acpiTable, TableWriter } from "./acpi-table.js";

/** A node to be written; mappings name their target by its place in the list. */
export interface NodeSpec {
  readonly body: IortBody;
  readonly mappings?: readonly IortMapping[];
  readonly revision?: number;
}

const HEADER = 48;

/** The bytes of an IORT, its mappings' targets still numbers of nodes in the list. */
export function iortTable(nodes: readonly NodeSpec[], revision = 5): Uint8Array {
  const bodies = nodes.map(({ body, mappings = [] }) => bodyBytes(body, mappings.length));
  const offsets: number[] = [];
  let at = HEADER;
  for (const [index, bytes] of bodies.entries()) {
    offsets.push(at);
    at += 16 + bytes.length + 20 * (nodes[index]!.mappings ?? []).length;
  }
  const writer = new TableWriter().u32(nodes.length, HEADER, 0);
  for (const [index, { body, mappings = [], revision: nodeRevision = 5 }] of nodes.entries()) {
    const bytes = bodies[index]!;
    const type = body.type === "unknown" ? body.number : IORT_TYPES.indexOf(body.type);
    const length = 16 + bytes.length + 20 * mappings.length;
    writer.u8(type).u16(length).u8(nodeRevision).u32(index);
    writer.u32(mappings.length, mappings.length === 0 ? 0 : 16 + bytes.length).u8(...bytes);
    for (const { input, last, output, target, single } of mappings) {
      writer.u32(input, last - input, output, offsets[target] ?? target, single ? 1 : 0);
    }
  }
  return acpiTable("IORT", revision, writer.bytes);
}

/** Where the nodes of {@link iortTable} begin. */
export function offsetsOf(nodes: readonly NodeSpec[]): readonly number[] {
  let at = HEADER;
  return nodes.map(({ body, mappings = [] }) => {
    const start = at;
    at += 16 + bodyBytes(body, mappings.length).length + 20 * mappings.length;
    return start;
  });
}

function bodyBytes(body: IortBody, mappings: number): readonly number[] {
  const writer = new TableWriter();
  switch (body.type) {
    case "its-group":
      return writer.u32(body.its.length, ...body.its).bytes;
    case "named-component":
      return writer
        .u32(body.flags, body.memory.coherent ? 1 : 0)
        .u8(0, 0, 0, body.memory.flags, 48)
        .text(body.name).bytes;
    case "root-complex":
      return writer
        .u32(body.memory.coherent ? 1 : 0)
        .u8(0, 0, 0, body.memory.flags)
        .u32(body.ats ? 1 : 0, body.segment)
        .u8(64, 0, 0, 0).bytes;
    case "smmu":
      return writer.u64(body.address, body.span).u32(body.model, body.flags, 0, 0, 0, 0, 0).bytes;
    case "smmu-v3":
      return writer
        .u64(body.address)
        .u32(body.flags, 0)
        .u64(0n)
        .u32(body.model, 0, 0, 0, 0, 0, body.ownMapping ?? mappings).bytes;
    case "pmcg":
      return writer
        .u64(body.address)
        .u32(0, body.target)
        .u64(body.page1 ?? 0n).bytes;
    case "rmr": {
      writer.u32(body.remap ? 1 : 0, body.ranges.length, body.ranges.length === 0 ? 0 : 28);
      for (const { start, length } of body.ranges) writer.u64(start, length).u32(0);
      return writer.bytes;
    }
    case "iwb":
      return writer.u64(body.address).u16(body.index).text(body.name).bytes;
    case "unknown":
      return [];
  }
}
