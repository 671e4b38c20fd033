import { describe, expect, it } from "vitest";
import { usedIommus } from "../../boards/agreement.js";
import { planPairs } from "../../boards/plans.js";
import type { Topology } from "../../src/topology/topology.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { syntheticTrees } from "./synthetic-trees.js";

/** What is to be found in a tree. */
interface Expected {
  /** Name, and `off` where it is. */
  readonly iommus: readonly string[];
  /** Name, and what translates for it: `-` for nothing, `?` where the tree does not tell; `off` where it is itself. */
  readonly devices: Readonly<Record<string, string>>;
  /** Ids of findings. */
  readonly findings: readonly string[];
  /** Pairs that can share an address space, whatever the strategy; VFIO takes no PCI bridges. */
  readonly share: readonly string[];
}

const EXPECTED: Readonly<Record<string, Expected>> = {
  "two-for-one-display": {
    iommus: ["13a00000.sysmmu", "13a10000.sysmmu", "15200000.sysmmu", "15210000.sysmmu", "13c80000.sysmmu off"],
    devices: {
      "13800000.decon": "13a00000.sysmmu 13a10000.sysmmu",
      "152e0000.codec": "15200000.sysmmu 15210000.sysmmu",
      "13c00000.scaler": "-",
    },
    findings: ["several-iommus", "several-iommus", "disabled-iommu"],
    share: [],
  },
  "host-with-contexts": {
    iommus: ["smmu.0x0000000012000000", "smmu.0x0000000008000000"],
    devices: {
      "13e00000.host1x": "smmu.0x0000000008000000",
      "2600000.dma-controller": "smmu.0x0000000012000000",
      "2900000.audio": "smmu.0x0000000012000000",
      "14180000.pcie": "smmu.0x0000000012000000",
      "14180000.pcie-ep": "off",
    },
    findings: ["own-and-others", "masked-map-row"],
    share: [
      "13e00000.host1x 2600000.dma-controller",
      "13e00000.host1x 14180000.pcie",
      "2600000.dma-controller 14180000.pcie",
    ],
  },
  "one-of-two-banks": {
    iommus: ["smmu.0x0000000012000000", "smmu.0x0000000010000000 off"],
    devices: {
      "3400000.mmc": "smmu.0x0000000012000000",
      "2490000.ethernet": "smmu.0x0000000012000000",
      "15200000.display": "-",
      "141a0000.pcie": "smmu.0x0000000012000000",
    },
    findings: ["disabled-iommu", "masked-map-row"],
    share: ["3400000.mmc 141a0000.pcie"],
  },
  "same-name-other-bus": {
    iommus: ["smmu3.0x0000008105000000", "smmu3.0x0000008106000000", "smmu3.0x0000008806000000"],
    devices: {
      "818b200000.host1x": "smmu3.0x0000008105000000",
      "8108400000.dma-controller": "smmu3.0x0000008106000000",
      "880c000000.pcie": "smmu3.0x0000008806000000",
      "0002:00:00.0": "smmu3.0x0000008806000000",
      "0002:01:00.0": "smmu3.0x0000008806000000",
    },
    findings: [],
    share: [
      "818b200000.host1x 8108400000.dma-controller",
      "818b200000.host1x 880c000000.pcie",
      "818b200000.host1x 0002:01:00.0",
      "8108400000.dma-controller 880c000000.pcie",
      "8108400000.dma-controller 0002:01:00.0",
      "880c000000.pcie 0002:01:00.0",
    ],
  },
  "three-smmus-two-hosts": {
    iommus: ["smmu3.0x000000002ce00000", "smmu3.0x000000004f000000", "smmu3.0x000000004f400000"],
    devices: {
      "2cc00000.dp": "smmu3.0x000000002ce00000",
      "28c0000000.pcie": "smmu3.0x000000004f400000",
      "4fc0000000.pcie": "smmu3.0x000000004f000000",
    },
    findings: [],
    share: ["28c0000000.pcie 4fc0000000.pcie"],
  },
  "one-smmu-per-device": {
    iommus: [
      "smmu.0x000000002b600000",
      "smmu.0x000000002b500000",
      "smmu.0x000000007fb30000",
      "smmu.0x000000007fb20000 off",
    ],
    devices: {
      "20070000.etr": "smmu.0x000000002b600000",
      "7ffb0000.usb": "smmu.0x000000007fb30000",
      "7ffc0000.usb": "smmu.0x000000007fb30000",
      "7ff60000.hdlcd": "-",
      "40000000.pcie": "smmu.0x000000002b500000",
    },
    findings: ["disabled-iommu", "shared-id"],
    share: [
      "20070000.etr 7ffb0000.usb",
      "20070000.etr 7ffc0000.usb",
      "20070000.etr 40000000.pcie",
      "7ffb0000.usb 7ffc0000.usb",
      "7ffb0000.usb 40000000.pcie",
      "7ffc0000.usb 40000000.pcie",
    ],
  },
  "wide-and-narrow-ids": {
    iommus: ["smmu.0x00000000e0200000", "smmu.0x00000000e0600000", "smmu.0x00000000e0a00000"],
    devices: {
      "e0300000.sata": "smmu.0x00000000e0200000",
      "e0700000.ethernet": "smmu.0x00000000e0600000",
      "f0000000.pcie": "smmu.0x00000000e0a00000",
    },
    findings: [],
    share: ["e0300000.sata e0700000.ethernet", "e0300000.sata f0000000.pcie", "e0700000.ethernet f0000000.pcie"],
  },
  "above-4-gib": {
    iommus: ["smmu3.0x00000000a0040000 off", "smmu3.0x0000000d00040000", "smmu3.0x00000400d0040000"],
    devices: {
      "d0000000.sec": "smmu3.0x0000000d00040000",
      "400d2000000.sec": "smmu3.0x00000400d0040000",
      "c5000000.ethernet": "-",
      "a2000000.sas": "off",
    },
    findings: ["disabled-iommu"],
    share: ["d0000000.sec 400d2000000.sec"],
  },
  "smmu-beside-others": {
    iommus: [
      "smmu3.0x00000000fc900000",
      "smmu3.0x00000000fcb00000 off",
      "fdb50800.iommu",
      "fdd97e00.iommu",
      "fdca0000.iommu",
    ],
    devices: {
      "fe150000.pcie": "smmu3.0x00000000fc900000",
      "fe180000.pcie": "smmu3.0x00000000fc900000",
      "fdb50000.vpu": "fdb50800.iommu",
      "fdd90000.vop": "fdd97e00.iommu",
      "fdba0000.scaler": "fdd97e00.iommu",
      "fdc70000.av1": "fdca0000.iommu",
    },
    findings: ["several-iommus"],
    share: ["fe150000.pcie fe180000.pcie"],
  },
  "pcie-and-platform-smmus": {
    iommus: [
      "smmu.0x0000000015000000",
      "smmu.0x0000000003da0000",
      "smmu3.0x0000000015400000",
      "smmu3.0x0000000015500000 off",
    ],
    devices: {
      "a600000.usb": "smmu.0x0000000015000000",
      "3d00000.gpu": "smmu.0x0000000003da0000",
      "aa00000.video": "smmu.0x0000000015000000",
      "ac00000.camera": "-",
      "1bd0000.pcie": "smmu3.0x0000000015400000",
      "0003:00:00.0": "smmu3.0x0000000015400000",
      "0003:01:00.0": "smmu3.0x0000000015400000",
      "1bf8000.pcie": "smmu.0x0000000015000000",
    },
    findings: ["disabled-iommu"],
    share: ["a600000.usb", "3d00000.gpu", "aa00000.video", "1bd0000.pcie", "0003:01:00.0", "1bf8000.pcie"].flatMap(
      (a, index, all) => all.slice(index + 1).map((b) => `${a} ${b}`),
    ),
  },
  "twenty-ids": {
    iommus: ["smmu.0x00000000016c0000", "smmu.0x0000000005100000 off"],
    devices: {
      "18800000.wifi": "smmu.0x00000000016c0000",
      "1de0000.crypto": "smmu.0x00000000016c0000",
      "15700000.sound:apr:dais": "-",
      "a8f8800.usb:usb@a800000": "off",
    },
    findings: ["disabled-iommu", "repeated-id"],
    share: [],
  },
  "named-otherwise": {
    iommus: ["mtk-iommu.0x0000000010315000", "mtk-iommu.0x0000000014018000", "mtk-iommu.0x000000001c028000"],
    devices: {
      "112f0000.pcie": "mtk-iommu.0x0000000010315000",
      "pcie@0,0": "mtk-iommu.0x0000000010315000",
      "wifi@0,0": "mtk-iommu.0x0000000010315000",
      "soc:decoder@1a040000": "mtk-iommu.0x000000001c028000",
      "1a040000.jpgdec": "mtk-iommu.0x000000001c028000",
      "1a050000.jpgdec": "mtk-iommu.0x000000001c028000",
      "1b040000.jpgdec": "mtk-iommu.0x0000000014018000",
    },
    findings: ["masked-map-row", "shared-id", "shared-id"],
    share: [],
  },
  "one-iommu-per-corner": {
    iommus: ["e67b0000.iommu", "e6740000.iommu", "e6570000.iommu off", "fd960000.iommu"],
    devices: { "e6700000.dma-controller": "e6740000.iommu", "ee300000.sata": "off", "fe000000.pcie": "-" },
    findings: ["disabled-iommu"],
    share: [],
  },
};

function devicesOf({ devices, iommus }: Topology): Expected["devices"] {
  const names = new Map(iommus.map(({ path, name }) => [path, name]));
  const words = (device: Topology["devices"][number]) => {
    if (!device.enabled) return "off";
    const used = usedIommus(device);
    return used === undefined ? "?" : used.map((path) => names.get(path)).join(" ") || "-";
  };
  return Object.fromEntries(devices.map((device) => [device.name, words(device)]));
}

describe("a tree like that of a board", () => {
  it("is there for each", () => {
    expect(syntheticTrees.map(({ name }) => name)).toEqual(Object.keys(EXPECTED).sort());
  });

  it.each(syntheticTrees)("is understood: $name", ({ name, blob }) => {
    const topology = topologyOfDeviceTree(blob, name);
    const expected = EXPECTED[name]!;
    expect(topology.iommus.map((iommu) => (iommu.enabled ? iommu.name : `${iommu.name} off`))).toEqual(expected.iommus);
    expect(devicesOf(topology)).toEqual(expected.devices);
    expect(topology.findings.map(({ id }) => id)).toEqual(expected.findings);
  });

  it.each(syntheticTrees)("is planned: $name", ({ name, blob }) => {
    const plans = planPairs(topologyOfDeviceTree(blob, name));
    const sharing = plans.filter(({ plan }) => plan.verdict === "yes");
    const names = sharing.map(({ pair }) => pair.map((device) => device.name).join(" "));
    expect(names).toEqual(EXPECTED[name]!.share);
    for (const { plan } of plans) {
      const mirrored = plan.strategies.find(({ strategy }) => strategy === "mirrored");
      expect(mirrored?.verdict).toBe(plan.verdict);
    }
  });
});
