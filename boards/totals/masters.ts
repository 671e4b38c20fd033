import type { TreeNode } from "../../src/devicetree/node.js";
import type { Board, Master } from "../board.js";
import type { Total } from "./total.js";

/** What is behind IOMMUs: which of it is off, and which IDs it has. */
export const masterTotals: readonly Total[] = [
  { what: "masters", expected: 15531, of: ({ masters }) => masters.length },
  {
    what: "masters that are off themselves",
    expected: 2861,
    of: ({ masters }) => masters.filter(({ node }) => node.status !== "okay").length,
  },
  {
    what: "masters that only something above them switches off",
    expected: 723,
    of: ({ masters }) => masters.filter(({ node }) => node.status === "okay" && !node.isEnabled).length,
  },
  {
    what: "boards with masters that are on behind an IOMMU that is off",
    expected: 43,
    of: ({ masters }) =>
      masters.some(({ node, own, mapped }) => node.isEnabled && [...own, ...mapped].some((each) => !each.isEnabled)),
  },
  {
    what: "Qualcomm's SMMUv3 whose status is reserved",
    expected: 36,
    of: ({ name, iommus }) =>
      name.startsWith("qcom/")
        ? iommus.filter((iommu) => iommu.isCompatible("arm,smmu-v3") && iommu.status === "reserved").length
        : 0,
  },
  {
    what: "every status there is",
    expected: ["disabled", "fail", "fail-needs-probe", "okay", "reserved"],
    namesOf: ({ nodes }) => nodes.filter((node) => node.has("status")).map(({ status }) => status),
  },
  // Devices that are off count: they have the ID, whoever uses it.
  { what: "boards where masters share an ID", expected: 292, of: (board) => owners(board).some(isShared) },
  { what: "  not counting those that are off", expected: 285, of: (board) => owners(switchedOn(board)).some(isShared) },
  {
    what: "what lists one ID twice",
    expected: ["qcom,sc7280-qce"],
    namesOf: (board) => owners(board).flatMap((nodes) => repeated(nodes).map(({ compatible }) => compatible[0] ?? "")),
  },
  {
    what: "boards with masters whose unit address has a comma",
    expected: 11,
    of: ({ masters }) => masters.some(({ node }) => node.unitAddress?.includes(",") === true),
  },
];

function switchedOn(board: Board): Board {
  return { ...board, masters: board.masters.filter(({ node }) => node.isEnabled) };
}

/** For each ID at each IOMMU, those that have it, as often as they list it. */
function owners({ masters }: Board): readonly (readonly TreeNode[])[] {
  const found = new Map<string, TreeNode[]>();
  for (const { key, node } of masters.flatMap(idsOf)) found.set(key, [...(found.get(key) ?? []), node]);
  return [...found.values()];
}

function idsOf({ node, listed }: Master): readonly { readonly key: string; readonly node: TreeNode }[] {
  const withIds = listed.entries.filter(({ args }) => args.length > 0);
  return withIds.map(({ iommu, args }) => ({ key: [iommu.path, ...args].join(" "), node }));
}

function isShared(nodes: readonly TreeNode[]): boolean {
  return new Set(nodes).size > 1;
}

function repeated(nodes: readonly TreeNode[]): readonly TreeNode[] {
  return nodes.filter((node, index) => nodes.indexOf(node) < index);
}
