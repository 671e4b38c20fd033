import type { Board } from "../board.js";
import type { Total } from "./total.js";

/** What single boards are there for. */
export const knownTotals: readonly Total[] = [
  ...iommusOf("amd/amd-overdrive-rev-b1", 5),
  ...iommusOf("arm/juno-r2", 7),
  ...iommusOf("arm/morello-sdp", 3),
  ...iommusOf("exynos/exynos5433-tm2", 12),
  ...iommusOf("hisilicon/hip07-d05", 5),
  ...iommusOf("mediatek/mt8195-cherry-dojo-r1", 3),
  ...iommusOf("nvidia/tegra194-p2972-0000", 2),
  ...iommusOf("nvidia/tegra234-p3768-0000+p3767-0005", 3),
  ...iommusOf("nvidia/tegra264-p3971-0089+p3834-0008", 5),
  ...iommusOf("qcom/hamoa-iot-evk-el2", 3),
  ...iommusOf("qcom/sdm660-xiaomi-lavender", 5),
  ...iommusOf("renesas/r8a77951-salvator-x-panel-aa104xd12", 17),
  ...iommusOf("rockchip/rk3588-rock-5b-plus", 17),
  {
    what: "devices of the exynos5433-tm2 with two IOMMUs of their own",
    expected: ["codec@152e0000", "decon@13800000", "decon@13880000"],
    namesOf: only("exynos/exynos5433-tm2", ({ masters }) =>
      masters.filter(({ own }) => own.length === 2).map(({ node }) => node.name),
    ),
  },
  {
    what: "IOMMUs of the tegra264-p3971 that have one name",
    expected: ["iommu@6000000"],
    namesOf: only("nvidia/tegra264-p3971-0089+p3834-0008", ({ iommus }) =>
      iommus.map(({ name }) => name).filter((name, index, all) => all.indexOf(name) < index),
    ),
  },
  {
    what: "the most IDs that a device of the sdm660-xiaomi-lavender has at one IOMMU",
    expected: 20,
    of: ({ name, masters }) =>
      name === "qcom/sdm660-xiaomi-lavender"
        ? Math.max(...masters.map(({ own, listed }) => (own.length === 1 ? listed.entries.length : 0)))
        : 0,
  },
];

function iommusOf(board: string, expected: number): readonly Total[] {
  return [{ what: `IOMMUs of ${board}`, expected, of: ({ name, iommus }) => (name === board ? iommus.length : 0) }];
}

function only(name: string, of: (board: Board) => readonly string[]): (board: Board) => readonly string[] {
  return (board) => (board.name === name ? of(board) : []);
}
