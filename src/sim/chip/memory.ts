import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import type { InterconnectDescription, MemoryDescription } from "../linux/description.js";
import type { AddressMap } from "./address-map.js";
import { type PhysicalRange, physicalRange, physicalRanges } from "./physical-range.js";
import { bandwidthOf, nanosecondsOf } from "./rates.js";

/** RAM, and how fast it is. */
export interface ChipMemory {
  readonly banks: readonly MemoryDescription[];
  readonly interconnect: InterconnectDescription;
}

/** What pages may have to be a multiple of. */
const PAGE = 65536;

/**
 * The memory nodes, without what is reserved: by `/memreserve/`, or by a child of `/reserved-memory` with a `reg`.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for a machine without memory, and for banks of size 0.
 */
export function chipMemory(tree: DeviceTree, addresses: AddressMap): ChipMemory {
  const nodes = tree.root.children.filter((node) => node.property("device_type")?.text === "memory" && node.isEnabled);
  if (nodes.length === 0) {
    throw deviceTreeError("/", "there is no memory", 'add a node memory@… with device_type = "memory" and reg');
  }
  const banks = nodes.flatMap((node) => bankRanges(node, addresses));
  const reserved = [...reservations(tree), ...reservedMemory(tree)];
  return {
    banks: banks.flatMap((bank) => subtract(bank, reserved)).flatMap(wholePages),
    interconnect: { ...only(nodes, "memoryBandwidth", bandwidthOf), ...only(nodes, "walkLatency", walkLatencyOf) },
  };
}

function bankRanges(node: TreeNode, addresses: AddressMap): readonly PhysicalRange[] {
  if (node.required("reg").bytes.length === 0) node.required("reg").fail("is empty");
  if (node.reg.some(({ size }) => size === 0n)) {
    node.required("reg").fail("has a bank of size 0", "write the size that the boot loader would fill in");
  }
  const ranges = physicalRanges(node);
  addresses.claim(node, "memory", ranges);
  return ranges;
}

function reservations(tree: DeviceTree): readonly PhysicalRange[] {
  return tree.reservations
    .filter(({ size }) => size > 0n)
    .map((range) => physicalRange(tree.root, "/memreserve/", range));
}

function reservedMemory(tree: DeviceTree): readonly PhysicalRange[] {
  const regions = tree.find("/reserved-memory")?.children ?? [];
  return regions.filter((region) => region.isEnabled && region.has("reg")).flatMap(physicalRanges);
}

function subtract(bank: PhysicalRange, holes: readonly PhysicalRange[]): readonly PhysicalRange[] {
  const end = bank.start + bank.size;
  let start = bank.start;
  const parts: PhysicalRange[] = [];
  for (const hole of holes.toSorted((a, b) => a.start - b.start)) {
    if (hole.start >= end || hole.start + hole.size <= start) continue;
    if (hole.start > start) parts.push({ start, size: hole.start - start });
    start = hole.start + hole.size;
  }
  return start < end ? [...parts, { start, size: end - start }] : parts;
}

function wholePages({ start, size }: PhysicalRange): readonly MemoryDescription[] {
  const [first, end] = [Math.ceil(start / PAGE) * PAGE, Math.floor((start + size) / PAGE) * PAGE];
  return first < end ? [{ start: first, size: end - first }] : [];
}

/** A figure that all memory has together: no two nodes may differ. */
function only<K extends keyof InterconnectDescription>(
  nodes: readonly TreeNode[],
  key: K,
  read: (node: TreeNode) => number | undefined,
): Pick<InterconnectDescription, K> | undefined {
  const values = new Set(nodes.map(read).filter((value) => value !== undefined));
  const [value, ...others] = values;
  if (others.length > 0) {
    const paths = nodes.map(({ path }) => path).join(" and ");
    throw deviceTreeError(paths, "differ in how fast they are", "memory is one, give it one speed");
  }
  return value === undefined ? undefined : ({ [key]: value } as Pick<InterconnectDescription, K>);
}

function walkLatencyOf(node: TreeNode): number | undefined {
  return nanosecondsOf(node, "iospan,walk-latency-ns");
}
