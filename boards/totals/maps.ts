import type { IdMap } from "../../src/devicetree/id-map.js";
import { type Board, idCells, isPciHost, type Master } from "../board.js";
import type { Total } from "./total.js";

const LARGEST_REQUESTER_ID = 0xffff;

/** `iommu-map`: how wide its rows are, what is not PCI, and odd rows. */
export const mapTotals: readonly Total[] = [
  { what: "maps with rows of 5 cells", expected: 252, of: (board) => maps(board).filter(isWide).length },
  { what: "boards with such maps", expected: 124, of: (board) => maps(board).some(isWide) },
  {
    what: "boards with rows of 4 cells where IDs have 2",
    expected: ["qcom/qcs8550-rb5gen2"],
    namesOf: (board) => (maps(board).some((map) => !isWide(map) && map.entries.some(needsTwo)) ? [board.name] : []),
  },
  {
    what: "maps whose size fits rows of 4 and of 5 cells",
    expected: 42,
    of: ({ masters }) =>
      masters.filter(({ node }) => (node.property("iommu-map")?.cells.length ?? 1) % 20 === 0).length,
  },
  {
    what: "boards with a map that is not PCI's",
    expected: 39,
    of: ({ masters }) => masters.some((each) => each.map !== undefined && !isPciHost(each)),
  },
  {
    what: "what has such a map",
    expected: ["dma-controller", "fsl-mc", "host1x", "pcie-ep"],
    namesOf: ({ masters }) =>
      masters.filter((each) => each.map !== undefined && !isPciHost(each)).map(({ node }) => node.baseName),
  },
  {
    what: "boards with a device that has a map and iommus",
    expected: 14,
    of: ({ masters }) => masters.some(({ node, map }) => map !== undefined && node.has("iommus")),
  },
  { what: "masks of maps", expected: ["0x0", "0x1ff", "0x31f"], namesOf: ({ masters }) => masters.flatMap(masks) },
  {
    what: "boards with a map that makes 0x1000 IDs one",
    expected: 12,
    of: (board) =>
      maps(board).some(({ mask, entries }) => mask === 0 && entries.some(({ length }) => length === 0x1000)),
  },
  {
    what: "boards with a row of no IDs",
    expected: 25,
    of: (board) => maps(board).some(({ entries }) => entries.some(({ length }) => length === 0)),
  },
  {
    what: "boards with a map to IDs wider than 16 bits",
    expected: 38,
    of: (board) =>
      maps(board).some(({ entries }) =>
        entries.some(({ output, length }) => output + length - 1 > LARGEST_REQUESTER_ID),
      ),
  },
];

function maps({ masters }: Board): readonly IdMap[] {
  return masters.flatMap(({ map }) => map ?? []);
}

function isWide({ entries }: IdMap): boolean {
  return entries.some(({ rest }) => rest.length > 0);
}

function needsTwo({ target }: IdMap["entries"][number]): boolean {
  return idCells(target) === 2;
}

function masks({ node }: Master): readonly string[] {
  const mask = node.property("iommu-map-mask");
  return mask === undefined ? [] : [`0x${mask.cell.toString(16)}`];
}
