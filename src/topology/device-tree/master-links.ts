import { type IdMap, iommuMap } from "../../devicetree/id-map.js";
import type { TreeNode } from "../../devicetree/node.js";
import { choiceOf, kindOfCompatible } from "../iommu-kind.js";
import type { IdRange, IommuLink } from "../topology.js";
import { type IommuEntry, iommuEntries } from "./iommu-entries.js";

/** How a node is connected with IOMMUs. */
export interface MasterLinks {
  readonly links: readonly IommuLink[];
  /** What could not be read, with the property's name in front. */
  readonly problems: readonly string[];
}

/** The links that `iommus` of a node makes, one for each IOMMU. */
export function ownLinks(node: TreeNode): MasterLinks {
  const property = node.property("iommus");
  if (property === undefined) return { links: [], problems: [] };
  const { entries, problem } = iommuEntries(property);
  const links = linksOf(entries, "iommus");
  return { links, problems: problem === undefined ? [] : [`iommus ${problem}`] };
}

/** Links to the IOMMUs of a list, and which of them Linux uses. */
export function linksOf(entries: readonly IommuEntry[], via: string): readonly IommuLink[] {
  const iommus = [...new Set(entries.map(({ iommu }) => iommu))];
  const used = usedOf(iommus);
  return iommus.map((iommu) => ({
    iommu: iommu.path,
    ids: entries.filter((each) => each.iommu === iommu).flatMap(({ args }) => idsOf(args)),
    used: used(iommu),
    via,
  }));
}

/**
 * One that is not available, or has another driver than the first, makes the whole of the device's configuration fail, and
 * nothing translates its DMA (drivers/iommu/of_iommu.c, of_iommu_xlate; iommu.c, iommu_fwspec_init).
 */
function usedOf(iommus: readonly TreeNode[]): (iommu: TreeNode) => boolean | undefined {
  const kinds = new Set(iommus.map(({ compatible }) => kindOfCompatible(compatible)));
  if (iommus.some((iommu) => !iommu.isEnabled)) return () => false;
  if (kinds.size > 1 && !kinds.has("other")) return () => false;
  if (iommus.length === 1) return () => true;
  const [kind = "other"] = kinds;
  const choice = kinds.size > 1 ? undefined : choiceOf(kind);
  if (choice === undefined) return () => undefined;
  if (choice === "none") return () => false;
  if (choice === "all") return () => true;
  const chosen = iommus.at(choice === "first" ? 0 : -1);
  return (iommu) => iommu === chosen;
}

function idsOf([first, ...rest]: readonly number[]): readonly IdRange[] {
  if (first === undefined) return [];
  return [{ first, count: 1, ...(rest.length > 0 ? { rest } : {}) }];
}

/** The links that `iommu-map` of a node makes for the devices on it, one for each IOMMU. */
export function mapLinks(map: IdMap): readonly IommuLink[] {
  const targets = [...new Set(map.entries.map(({ target }) => target))];
  return targets.map((target) => ({
    iommu: target.path,
    ids: map.entries
      .filter((each) => each.target === target)
      .map(({ first, length, output, rest }) => ({
        input: first,
        first: output,
        count: length,
        ...(rest.length > 0 ? { rest } : {}),
      })),
    mask: map.mask,
    used: target.isEnabled,
    via: "iommu-map",
  }));
}

/**
 * The links of one PCI function through the map of its host: the map's row for its requester ID. Where nobody knows that,
 * the IOMMUs of the map, without IDs.
 */
export function functionLinks(host: TreeNode, requesterId: number | undefined): readonly IommuLink[] {
  const map = iommuMap(host);
  if (map === undefined) return [];
  if (requesterId === undefined) return possibleLinks(map);
  const mapped = map.lookUp(requesterId);
  if (mapped === undefined) return [];
  const { target, id, rest } = mapped;
  const range: IdRange = { first: id, count: 1, ...(rest.length > 0 ? { rest } : {}) };
  return [{ iommu: target.path, ids: [range], used: target.isEnabled, via: "iommu-map" }];
}

function possibleLinks(map: IdMap): readonly IommuLink[] {
  const targets = [...new Set(map.entries.filter(({ length }) => length > 0).map(({ target }) => target))];
  const isClear = targets.length === 1;
  return targets.map((target) => ({
    iommu: target.path,
    ids: [],
    used: isClear || !target.isEnabled ? target.isEnabled : undefined,
    via: "iommu-map",
  }));
}
