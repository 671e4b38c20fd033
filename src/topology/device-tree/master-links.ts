import { IdMap, type IdMapEntry } from "../../devicetree/id-map.js";
import type { TreeNode } from "../../devicetree/node.js";
import { choiceOf, kindOfCompatible } from "../iommu-kind.js";
import type { IdRange, IommuLink } from "../topology.js";
import { availability } from "./availability.js";
import { compatibleOf } from "./compatible.js";
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
  // A driver that takes the last one takes that of the last entry, wherever it was named before.
  const used = usedOf(iommus, entries.at(-1)?.iommu);
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
function usedOf(iommus: readonly TreeNode[], last: TreeNode | undefined): (iommu: TreeNode) => boolean | undefined {
  const kinds = new Set(iommus.map((iommu) => kindOfCompatible(compatibleOf(iommu))));
  if (!iommus.every(isOn)) return () => false;
  if (kinds.size > 1 && !kinds.has("other")) return () => false;
  if (iommus.length === 1) return () => true;
  const [kind = "other"] = kinds;
  const choice = kinds.size > 1 ? undefined : choiceOf(kind);
  if (choice === undefined) return () => undefined;
  if (choice === "none") return () => false;
  if (choice === "all") return () => true;
  const chosen = choice === "first" ? iommus[0] : last;
  return (iommu) => iommu === chosen;
}

function idsOf([first, ...rest]: readonly number[]): readonly IdRange[] {
  if (first === undefined) return [];
  return [{ first, count: 1, ...(rest.length > 0 ? { rest } : {}) }];
}

/** What `iommu-map` of a node says, up to where it cannot be followed; undefined where it has none. */
export function mapOf(node: TreeNode): IdMap | undefined {
  const property = node.property("iommu-map");
  return property && new IdMap(property, "#iommu-cells");
}

/** The links that `iommu-map` of a node makes for the devices on it, one for each IOMMU. */
export function mapLinks(map: IdMap): readonly IommuLink[] {
  const entries = map.entries.filter(({ target }) => isIommu(target));
  const { usable } = map;
  return targetsOf(entries).map((target) => ({
    iommu: target.path,
    ids: entries
      .filter((each) => each.target === target)
      .map(({ first, length, output, rest }) => ({
        input: first,
        first: output,
        count: length,
        ...(rest.length > 0 ? { rest } : {}),
      })),
    mask: map.mask,
    used: isOn(target) && usable.some((each) => each.target === target),
    via: "iommu-map",
  }));
}

/**
 * The links of one PCI function through the map of its host: the map's row for its requester ID. Where nobody knows that,
 * the IOMMUs of the map, without IDs.
 */
export function functionLinks(host: TreeNode, requesterId: number | undefined): readonly IommuLink[] {
  const map = mapOf(host);
  if (map === undefined) return [];
  if (requesterId === undefined) return possibleLinks(map);
  const mapped = map.lookUp(requesterId);
  if (mapped === undefined || !isIommu(mapped.target)) return [];
  const { target, id, rest } = mapped;
  const range: IdRange = { first: id, count: 1, ...(rest.length > 0 ? { rest } : {}) };
  return [{ iommu: target.path, ids: [range], used: isOn(target), via: "iommu-map" }];
}

function possibleLinks(map: IdMap): readonly IommuLink[] {
  const targets = targetsOf(map.usable.filter(({ target }) => isIommu(target)));
  const isClear = targets.length === 1;
  return targets.map((target) => ({
    iommu: target.path,
    ids: [],
    used: isClear || !isOn(target) ? isOn(target) : undefined,
    via: "iommu-map",
  }));
}

function targetsOf(entries: readonly IdMapEntry[]): readonly TreeNode[] {
  return [...new Set(entries.map(({ target }) => target))];
}

function isOn(iommu: TreeNode): boolean {
  return availability(iommu).enabled;
}

/** A row may lead to what is none; Linux finds no driver for it. */
function isIommu(node: TreeNode): boolean {
  return node.has("#iommu-cells");
}
