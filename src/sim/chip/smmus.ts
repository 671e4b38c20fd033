import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import type { IommuDescription } from "../linux/description.js";
import type { AddressMap } from "./address-map.js";
import { physicalRanges } from "./physical-range.js";
import { platformName } from "./platform-names.js";

/** Linux's binding for them (iommu/arm,smmu-v3.yaml). */
export const SMMU_COMPATIBLE = "arm,smmu-v3";
/** Two pages of 64 KiB (Arm IHI 0070, 6.1). */
const REGISTERS = 0x20000;
const DEFAULT_STREAM_ID_BITS = 16;
const MOST_STREAM_ID_BITS = 32;
/** What a granule has for pages and blocks: 4 KiB, 2 MiB, 1 GiB; 16 KiB, 32 MiB; 64 KiB, 512 MiB. */
const PAGE_SIZES: Readonly<Record<number, bigint>> = { 4: 0x4020_1000n, 16: 0x0200_4000n, 64: 0x2001_0000n };
/** IDR5.OAS. */
const OUTPUT_BITS: readonly number[] = [32, 36, 40, 42, 44, 48, 52];
const STAGES: readonly number[] = [1, 2];
/** Powers of two from 8 to 2^20. */
const TLB_ENTRIES: readonly number[] = Array.from({ length: 18 }, (_, index) => 8 * 2 ** index);
const INPUT_BITS = { least: 32, most: 52 } as const;

/** One SMMU of a chip. */
export interface ChipSmmu {
  readonly node: TreeNode;
  readonly description: IommuDescription & { readonly streamIdBits: number };
}

/**
 * The `arm,smmu-v3` nodes that are enabled, by address.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` when there is none, or one has properties that no SMMU has.
 */
export function chipSmmus(tree: DeviceTree, addresses: AddressMap): readonly ChipSmmu[] {
  const nodes = tree.byCompatible(SMMU_COMPATIBLE).filter((node) => node.isEnabled);
  if (nodes.length === 0) {
    const hint = `a simulated machine has SMMUs: add a node with compatible = "${SMMU_COMPATIBLE}"`;
    throw deviceTreeError("/", `no enabled node is compatible with ${SMMU_COMPATIBLE}`, hint);
  }
  return nodes.map((node) => chipSmmu(node, addresses));
}

function chipSmmu(node: TreeNode, addresses: AddressMap): ChipSmmu {
  if (node.required("#iommu-cells").cell !== 1) node.required("#iommu-cells").fail("should be 1, for a StreamID");
  const [registers] = physicalRanges(node);
  if (registers === undefined || registers.size < REGISTERS) {
    return node.required("reg").fail(`should be at least 0x${REGISTERS.toString(16)} bytes of registers`);
  }
  addresses.claim(node, "registers", [registers]);
  const address = registers.start.toString(16).padStart(16, "0");
  return {
    node,
    description: {
      name: `smmu3.0x${address}`,
      device: platformName(node),
      registers: registers.start,
      coherent: isCoherent(node),
      rangeInvalidation: !node.has("iospan,no-range-invalidation"),
      httu: node.has("iospan,httu"),
      ...idRegisters(node),
    },
  };
}

/** Firmware's word: what the node says or, where it says nothing, the nearest bus above (of_dma_is_coherent). */
function isCoherent(node: TreeNode): boolean {
  for (const each of node.ancestry()) {
    if (each.has("dma-coherent")) return true;
    if (each.has("dma-noncoherent")) return false;
  }
  return false;
}

/** What the ID registers of this SMMU say, which no standard property does. */
function idRegisters(node: TreeNode) {
  const granules = pageSizes(node.property("iospan,granules-kib"));
  const stage = node.property("iospan,stage");
  const output = node.property("iospan,output-bits");
  const input = node.property("iospan,input-bits");
  const tlbEntries = node.property("iospan,tlb-entries");
  return {
    pageSizes: granules,
    ...(stage && { stage: oneOf(stage, STAGES) as 1 | 2 }),
    streamIdBits: streamIdBits(node.property("iospan,stream-id-bits")),
    ...(output && { outputBits: outputBits(output, granules) }),
    ...(input && { inputBits: within(input, INPUT_BITS.least, INPUT_BITS.most) }),
    ...(tlbEntries && { tlbEntries: oneOf(tlbEntries, TLB_ENTRIES) }),
  };
}

function pageSizes(granules: Property | undefined): bigint {
  const sizes = (granules?.cells ?? [4]).map((granule) => PAGE_SIZES[granule]);
  const known = sizes.filter((size) => size !== undefined);
  if (granules !== undefined && (known.length === 0 || known.length < sizes.length)) {
    granules.fail("should be one or more of 4, 16 and 64");
  }
  return known.reduce((all, size) => all | size, 0n);
}

/** Only the tables of the 64 KiB granule have room for 52 bits. */
function outputBits(output: Property, granules: bigint): number {
  const bits = oneOf(output, OUTPUT_BITS);
  const has64K = (granules & (PAGE_SIZES[64] ?? 0n)) !== 0n;
  return bits < 52 || has64K ? bits : output.fail("is 52, for which iospan,granules-kib must have 64");
}

function streamIdBits(bits: Property | undefined): number {
  return bits === undefined ? DEFAULT_STREAM_ID_BITS : within(bits, 0, MOST_STREAM_ID_BITS);
}

function oneOf(property: Property, values: readonly number[]): number {
  const { cell } = property;
  return values.includes(cell) ? cell : property.fail(`is ${cell}, and should be one of ${values.join(", ")}`);
}

function within(property: Property, least: number, most: number): number {
  const { cell } = property;
  return cell >= least && cell <= most ? cell : property.fail(`is ${cell}, and should be ${least} to ${most}`);
}
