import type { Iort, IortMapping, IortNode } from "./iort.js";

/** IDs of a node's devices, and what they are at the node where they arrive. */
export interface IortRange {
  readonly target: IortNode;
  /** Undefined where any input has this output. */
  readonly input: number | undefined;
  readonly output: number;
  readonly count: number;
}

/** Types that IDs are for. */
export type IortTarget = "smmu" | "its-group";

/** Nodes are not chained deeper than device, SMMU and ITS; a table that is leads in circles. */
const MOST_STEPS = 8;
const ALL_IDS = 0xffff_ffff;

/**
 * All IDs of a node that reach an SMMU, or an ITS group, through however many nodes. Mappings of an SMMU for its own MSIs
 * are no part of any way.
 */
export function idRanges(iort: Iort, node: IortNode, wanted: IortTarget): readonly IortRange[] {
  return usable(node).flatMap((mapping) => {
    const target = iort.nodes.get(mapping.target);
    const count = mapping.single ? 1 : mapping.last - mapping.input + 1;
    const input = mapping.single ? undefined : mapping.input;
    return target === undefined
      ? []
      : onwards(iort, { target, input, output: mapping.output, count }, wanted, MOST_STEPS);
  });
}

/** Splits a range wherever the next node maps parts of it differently. */
function onwards(iort: Iort, range: IortRange, wanted: IortTarget, steps: number): readonly IortRange[] {
  if (isWanted(range.target, wanted)) return [range];
  if (steps === 0) return [];
  return usable(range.target).flatMap((mapping) => {
    const target = iort.nodes.get(mapping.target);
    const first = Math.max(range.output, mapping.single ? 0 : mapping.input);
    const last = Math.min(range.output + range.count - 1, mapping.single ? ALL_IDS : mapping.last);
    if (target === undefined || first > last) return [];
    const input = range.input === undefined ? undefined : range.input + first - range.output;
    const output = mapping.single ? mapping.output : mapping.output + first - mapping.input;
    return onwards(iort, { target, input, output, count: last - first + 1 }, wanted, steps - 1);
  });
}

/** Single mappings count for devices only (drivers/acpi/arm64/iort.c, iort_id_map). */
function usable({ body, mappings }: IortNode): readonly IortMapping[] {
  const own = body.type === "smmu-v3" ? body.ownMapping : undefined;
  const isDevice = body.type === "named-component" || body.type === "root-complex" || body.type === "iwb";
  return mappings.filter((mapping, index) => index !== own && (isDevice || !mapping.single));
}

function isWanted({ body: { type } }: IortNode, wanted: IortTarget): boolean {
  return wanted === "smmu" ? type === "smmu" || type === "smmu-v3" : type === "its-group";
}
