import { describe, expect, it } from "vitest";
import { readBoard } from "../../boards/board.js";
import { Census } from "../../boards/census.js";
import { Tally } from "../../boards/totals/total.js";
import { TOTALS } from "../../boards/totals/totals.js";
import { exampleChips, syntheticTrees } from "./synthetic-trees.js";

/** What the made-up trees come to: counted by hand in test/boards/trees. Totals that are not here are 0 or nothing. */
const EXPECTED: Readonly<Record<string, string>> = {
  boards: "13",
  "boards with an IOMMU": "13",
  "boards with an IOMMU that is on": "13",
  "boards with a device whose own iommus name several": "2",
  "boards with a device whose iommus and iommu-map together name several": "3",
  "boards with several IOMMUs": "13",
  "boards with masters that are on behind two IOMMUs at least": "13",
  "boards with PCIe behind one IOMMU, a platform device behind another": "10",
  "  all of it on": "8",
  "boards with an IOMMU of several banks": "3",
  IOMMUs: "43",
  "IOMMUs whose IDs have 0 cells": "8",
  "IOMMUs whose IDs have 1 cells": "32",
  "IOMMUs whose IDs have 2 cells": "3",
  "boards with IDs of 1 and of 2 cells": "2",
  "boards with IDs of 0 and of 1 cell": "1",
  "what IOMMUs are called": "infra-iommu iommu m4u memory-controller sysmmu",
  "IOMMUs without a phandle": "2",
  "boards with two IOMMUs of one name": "1",
  masters: "54",
  "masters that are off themselves": "2",
  "masters that only something above them switches off": "2",
  "boards with masters that are on behind an IOMMU that is off": "7",
  "every status there is": "disabled fail-needs-probe reserved",
  "boards where masters share an ID": "2",
  "  not counting those that are off": "2",
  "what lists one ID twice": "qcom,qce",
  "boards with masters whose unit address has a comma": "1",
  "maps with rows of 5 cells": "1",
  "boards with such maps": "1",
  "boards with rows of 4 cells where IDs have 2": "pcie-and-platform-smmus",
  "maps whose size fits rows of 4 and of 5 cells": "1",
  "boards with a map that is not PCI's": "3",
  "what has such a map": "dma-controller host1x pcie-ep video",
  "boards with a device that has a map and iommus": "3",
  "masks of maps": "0x0",
  "boards with a map that makes 0x1000 IDs one": "2",
  "boards with a map to IDs wider than 16 bits": "2",
  "boards with reserved memory without reg": "1",
  "boards with an alias for what is off": "1",
  "boards with dma-ranges that say something": "2",
  "boards with dma-coherent": "9",
};

describe("the totals", () => {
  const tallies = TOTALS.map((total) => new Tally(total));
  for (const { name, blob } of syntheticTrees) for (const tally of tallies) tally.add(readBoard(name, blob));

  it.each(tallies.map((tally) => [tally.total.what, tally] as const))("count made-up trees: %s", (what, tally) => {
    const nothing = "of" in tally.total ? "0" : "";
    expect(tally.result).toBe(EXPECTED[what] ?? nothing);
  });

  it("have a name each", () => {
    expect(new Set(TOTALS.map(({ what }) => what)).size).toBe(TOTALS.length);
    expect(Object.keys(EXPECTED).filter((what) => !TOTALS.some((total) => total.what === what))).toEqual([]);
  });

  it("see what no board has", () => {
    const [tree] = exampleChips;
    const blob = new Uint8Array(tree!.blob.length + 4);
    blob.set(tree!.blob);
    const tally = new Tally(TOTALS.find(({ what }) => what === "blobs with bytes behind their end")!);
    tally.add(readBoard("longer", blob));
    expect([tally.result, tally.expected]).toEqual(["1", "0"]);
  });
});

describe("a census", () => {
  it("counts, compares and plans boards, and says which it could not read", () => {
    const census = new Census();
    for (const { name, blob } of syntheticTrees) census.add(name, blob);
    census.add("broken", Uint8Array.of(0xd0, 0x0d, 0xfe, 0xed));
    expect(census.refused).toHaveLength(1);
    expect(census.refused[0]).toMatch(/^broken: .*cut off/);
    expect(census.differences).toEqual({ topology: [], plans: [] });
    expect(census.devices).toBeGreaterThan(50);
    expect([...census.plans.keys()].sort()).toEqual(["different", "same", "unusable"]);
    expect(census.seconds).toBeGreaterThan(0);
  });
});
