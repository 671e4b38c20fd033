import { type Board, idCells, isPciHost, type Master } from "../board.js";
import type { Total } from "./total.js";

/** What IOMMUs there are, and how many of them one device or one board has. */
export const iommuTotals: readonly Total[] = [
  { what: "boards", expected: 1712, of: () => true },
  { what: "boards with an IOMMU", expected: 996, of: ({ iommus }) => iommus.length > 0 },
  {
    what: "boards with an IOMMU that is on",
    expected: 904,
    of: ({ iommus }) => iommus.some(({ isEnabled }) => isEnabled),
  },
  {
    what: "boards with a device whose own iommus name several",
    expected: 2,
    of: ({ masters }) => masters.some(({ own }) => own.length > 1),
  },
  {
    what: "boards with a device whose iommus and iommu-map together name several",
    expected: 8,
    of: ({ masters }) =>
      masters.some(({ node, own, mapped }) => node.has("iommus") && new Set([...own, ...mapped]).size > 1),
  },
  { what: "boards with several IOMMUs", expected: 729, of: ({ iommus }) => iommus.length > 1 },
  {
    what: "boards with masters that are on behind two IOMMUs at least",
    expected: 634,
    of: (board) => new Set(enabled(board).flatMap(({ own, mapped }) => [...own, ...mapped])).size > 1,
  },
  {
    what: "boards with PCIe behind one IOMMU, a platform device behind another",
    expected: 335,
    of: ({ masters }) => hasTwoWays(masters),
  },
  { what: "  all of it on", expected: 255, of: (board) => hasTwoWays(enabled(board).map(withoutDisabled)) },
  {
    what: "boards with an IOMMU of several banks",
    expected: 218,
    of: ({ iommus }) => iommus.some(({ reg }) => reg.length > 1),
  },
  { what: "IOMMUs", expected: 4150, of: ({ iommus }) => iommus.length },
  ...[1703, 1949, 498, 0, 0].map((expected, cells) => ({
    what: `IOMMUs whose IDs have ${cells} cells`,
    expected,
    of: ({ iommus }: Board) => iommus.filter((iommu) => idCells(iommu) === cells).length,
  })),
  { what: "boards with IDs of 1 and of 2 cells", expected: 153, of: (board) => widths(board) === "1 2" },
  { what: "boards with IDs of 0 and of 1 cell", expected: 57, of: (board) => widths(board) === "0 1" },
  {
    what: "what IOMMUs are called",
    expected: ["infra-iommu", "iommu", "m4u", "memory-controller", "sysmmu"],
    namesOf: ({ iommus }) => iommus.map(({ baseName }) => baseName),
  },
  {
    what: "IOMMUs without a phandle",
    expected: 409,
    of: ({ iommus }) => iommus.filter(({ phandle }) => phandle === undefined).length,
  },
  {
    what: "boards with two IOMMUs of one name",
    expected: 2,
    of: ({ iommus }) => new Set(iommus.map(({ name }) => name)).size < iommus.length,
  },
];

function enabled({ masters }: Board): readonly Master[] {
  return masters.filter(({ node }) => node.isEnabled);
}

function withoutDisabled(master: Master): Master {
  const { own, mapped } = master;
  return { ...master, own: own.filter((each) => each.isEnabled), mapped: mapped.filter((each) => each.isEnabled) };
}

function hasTwoWays(masters: readonly Master[]): boolean {
  const behindHosts = new Set(masters.filter(isPciHost).flatMap(({ mapped }) => mapped));
  const behindOthers = new Set(masters.filter((each) => !isPciHost(each)).flatMap(({ own }) => own));
  return [...behindHosts].some((iommu) => [...behindOthers].some((other) => other !== iommu));
}

/** The widths of IDs on a board. */
function widths({ iommus }: Board): string {
  return [...new Set(iommus.map(idCells))].sort().join(" ");
}
