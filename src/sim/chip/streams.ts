import type { IdMap } from "../../devicetree/id-map.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";
import { MOST_TABLE_BITS } from "../linux/iommu/stream-table.js";
import { type ChipSmmu, SMMU_COMPATIBLE } from "./smmus.js";

/** What a device's DMA goes through. */
export interface Stream {
  readonly smmu: ChipSmmu;
  readonly streamId: number;
}

/** Finds the SMMU and the StreamID of devices. */
export class Streams {
  readonly #smmus: ReadonlyMap<TreeNode, ChipSmmu>;

  constructor(smmus: readonly ChipSmmu[]) {
    this.#smmus = new Map(smmus.map((smmu) => [smmu.node, smmu]));
  }

  /**
   * Of a node with `iommus`. Undefined for one without, or whose SMMU is disabled: nothing translates for it.
   * @throws IospanError `ERR_IOSPAN_DEVICE_TREE`
   */
  ofNode(node: TreeNode): Stream | undefined {
    const iommus = node.property("iommus");
    const [reference, ...more] = iommus?.references("#iommu-cells") ?? [];
    if (iommus === undefined || reference === undefined) return undefined;
    if (more.length > 0) {
      iommus.fail(
        "has several StreamIDs, and a simulated device has one",
        "give each of its interfaces a node of its own",
      );
    }
    return this.#stream(iommus, reference.node, reference.args[0] ?? 0);
  }

  /**
   * Of a PCI function, through its host's `iommu-map`. Undefined where the map does not have it.
   * @param property the `iommu-map`
   * @param requesterId bus << 8 | device << 3 | function
   */
  ofFunction(property: Property, map: IdMap, requesterId: number): Stream | undefined {
    const mapped = map.lookUp(requesterId);
    return mapped && this.#stream(property, mapped.target, mapped.id);
  }

  #stream(property: Property, target: TreeNode, streamId: number): Stream | undefined {
    const smmu = this.#smmus.get(target);
    if (smmu === undefined) return notSimulated(property, target);
    const { streamIdBits } = smmu.description;
    const id = `leads to StreamID 0x${streamId.toString(16)}`;
    if (streamId >= 2 ** streamIdBits) {
      property.fail(`${id}, and StreamIDs of ${target.path} have ${streamIdBits} bits (iospan,stream-id-bits)`);
    }
    if (streamId >= 2 ** MOST_TABLE_BITS) {
      const limit = `Linux's stream table covers ${MOST_TABLE_BITS} of the ${streamIdBits} bits of ${target.path}`;
      property.fail(`${id}, and ${limit}`, `give it a StreamID below 0x${(2 ** MOST_TABLE_BITS).toString(16)}`);
    }
    return { smmu, streamId };
  }
}

function notSimulated(property: Property, target: TreeNode): undefined {
  if (target.isCompatible(SMMU_COMPATIBLE)) return undefined;
  const kind = target.compatible[0] ?? "something else";
  const hint = 'disable the device, status = "disabled", or put it behind an arm,smmu-v3';
  return property.fail(`leads to ${target.path}, which is ${kind}: only ${SMMU_COMPATIBLE} is simulated`, hint);
}
