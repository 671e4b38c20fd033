import { describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { Folder } from "../../src/cli/machine/folder.js";
import { shippedChips } from "../../src/cli/package-files.js";
import { simulate } from "../../src/sim/simulate.js";
import { mergeTopologies } from "../../src/topology/merge.js";
import { topologyOfSysfs } from "../../src/topology/sysfs/topology-of-sysfs.js";
import type { Topology, TopologyDevice } from "../../src/topology/topology.js";
import { topologyOfAcpi } from "../../src/topology/topology-of-acpi.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { SysfsTree } from "../machine/support/sysfs-tree.js";
import { iortTable } from "./support/iort-table.js";
import { dmar, ivrs } from "./support/x86-tables.js";

const PORT = "9030000.dma-port";
const FUNCTION = "0000:01:00.0";

const chip = new TextDecoder().decode(readChip("dual-smmu").content);
const tree = (source = chip) => topologyOfDeviceTree(source, "chip");
const live = (source: string | Uint8Array = chip) => topologyOfSysfs(simulate(source));
const find = ({ devices }: Topology, name: string): TopologyDevice => devices.find((each) => each.name === name)!;
const changed = (what: string, into: string) => {
  expect(chip).toContain(what);
  return chip.replace(what, into);
};

/** SMMUs at the chip's addresses, PCI segment 0 behind the first or the second. */
const iort = (smmu: 0 | 1) =>
  topologyOfAcpi(
    iortTable([
      ...[0xc000000n, 0xc020000n].map((address) => ({
        body: { type: "smmu-v3" as const, address, model: 0, flags: 0, ownMapping: undefined },
      })),
      {
        body: { type: "root-complex", segment: 0, ats: false, memory: { coherent: true, flags: 3 } },
        mappings: [{ input: 0, last: 0xffff, output: 0x20000, target: smmu, single: false }],
      },
    ]),
    "IORT",
  );

describe("a merge", () => {
  it("is the topology itself where there is one, and empty where there is none", () => {
    const only = tree();
    expect(mergeTopologies([only])).toBe(only);
    expect(mergeTopologies([])).toMatchObject({ iommus: [], devices: [], memory: undefined });
  });

  it("adds what the device tree knows to what the kernel knows", () => {
    const merged = mergeTopologies([live(), tree()]);
    expect(merged.sources.map(({ kind }) => kind)).toEqual(["sysfs", "device-tree"]);
    expect(merged.findings).toEqual([]);
    expect(merged.iommus).toHaveLength(2);
    expect(merged.iommus[0]?.paths).toEqual({
      sysfs: "/sys/class/iommu/smmu3.0x000000000c000000",
      "device-tree": "/iommu@c000000",
    });
    expect(find(merged, PORT)).toMatchObject({
      group: 2,
      paths: { "device-tree": "/dma-port@9030000" },
      links: [{ iommu: "/sys/class/iommu/smmu3.0x000000000c020000", via: "sysfs", ids: [{ first: 0x42, count: 1 }] }],
    });
    expect(find(merged, FUNCTION)).toMatchObject({ group: 1, links: [{ via: "sysfs", ids: [{ first: 0x100 }] }] });
    expect(merged.engines).toEqual([
      { name: "dma@0,0", interfaces: [`/sys/bus/pci/devices/${FUNCTION}`, `/sys/bus/platform/devices/${PORT}`] },
    ]);
    expect(merged.memory).toHaveLength(1);
  });

  it.each(shippedChips())("finds kernel and device tree of one mind on %s", (name) => {
    const { content } = readChip(name);
    const merged = mergeTopologies([live(content), topologyOfDeviceTree(content)]);
    expect(merged.findings.filter(({ severity }) => severity === "warning")).toEqual([]);
    expect(merged.iommus.every(({ paths }) => paths.sysfs !== undefined && paths["device-tree"] !== undefined)).toBe(
      true,
    );
    const translated = merged.devices.filter(({ links, isBus }) => !isBus && links.length > 0);
    expect(translated.every(({ links }) => links.length === 1 && links[0]?.ids.length !== 0)).toBe(true);
  });

  it("finds a device that the kernel has behind another IOMMU", () => {
    const { findings } = mergeTopologies([live(), tree(changed("iommus = <&smmu1 0x42>", "iommus = <&smmu0 0x42>"))]);
    expect(findings).toMatchObject([{ id: "iommu-differs", severity: "warning" }]);
    expect(findings[0]?.text).toBe(
      `${PORT} is behind smmu3.0x000000000c020000, says the kernel, and behind smmu3.0x000000000c000000, says the device tree`,
    );
  });

  it("finds a PCI function that the kernel has behind another IOMMU than the map of its host says", () => {
    const source = changed("iommu-map = <0x0 &smmu0 0x0 0x10000>", "iommu-map = <0x0 &smmu1 0x0 0x10000>");
    const { findings } = mergeTopologies([live(), tree(source)]);
    expect(findings.map(({ id }) => id)).toContain("iommu-differs");
  });

  it("finds an IOMMU in use that the device tree switches off, and a device that nothing translates", () => {
    const off = changed("smmu1: iommu@c020000 {", 'smmu1: iommu@c020000 { status = "disabled";');
    const found = mergeTopologies([live(), tree(off)]).findings.map(({ id }) => id);
    expect(found).toContain("enabled-differs");
    const without = live(changed("iommus = <&smmu1 0x42>;", "").replace("iospan,vfio-reset;", ""));
    const { findings } = mergeTopologies([without, tree()]);
    expect(findings).toMatchObject([{ id: "not-translated", about: `/sys/bus/platform/devices/${PORT}` }]);
  });

  it("gives PCI functions the IDs of an IORT, and compares their SMMU with it", () => {
    const merged = mergeTopologies([live(), iort(0)]);
    expect(merged.iommus).toHaveLength(2);
    expect(find(merged, FUNCTION).links).toMatchObject([{ via: "sysfs", ids: [{ first: 0x20100, count: 1 }] }]);
    expect(merged.findings).toEqual([]);
    const other = mergeTopologies([live(), iort(1)]).findings;
    expect(other.find(({ about }) => about?.endsWith(FUNCTION))).toMatchObject({
      id: "iommu-differs",
      text: `${FUNCTION} is behind smmu3.0x000000000c000000, says the kernel; firmware's ID map says smmu3.0x000000000c020000`,
    });
  });

  it("says which of several IOMMUs the kernel has taken, and whether its driver is known to", () => {
    const several = (entries: string) => mergeTopologies([live(), tree(changed("iommus = <&smmu1 0x42>", entries))]);
    const asKnown = several("iommus = <&smmu1 0x42>, <&smmu0 0x43>").findings;
    expect(asKnown).toMatchObject([{ id: "several-iommus", severity: "warning" }]);
    expect(asKnown[0]?.text).toBe(
      `${PORT} has several IOMMUs, says the device tree: smmu3.0x000000000c020000, smmu3.0x000000000c000000; the kernel has ` +
        "it behind smmu3.0x000000000c020000, the first, as its driver does, and gives it the IDs meant for the others as " +
        "well: through the others its DMA does not come",
    );
    const otherwise = several("iommus = <&smmu0 0x43>, <&smmu1 0x42>").findings;
    expect(otherwise).toMatchObject([{ id: "several-iommus", severity: "warning" }]);
    expect(otherwise[0]?.text).toMatch(/behind smmu3\.0x000000000c020000, where its driver is known to use the first$/);
  });

  it("knows drivers that use all of several IOMMUs", () => {
    const kernel = live();
    const exynos = (topology: Topology): Topology => ({
      ...topology,
      iommus: topology.iommus.map((each) => ({ ...each, kind: "exynos" })),
    });
    const source = changed("iommus = <&smmu1 0x42>", "iommus = <&smmu1 0x42>, <&smmu0 0x43>");
    const firmware = exynos(tree(source));
    const devices = firmware.devices.map((each) => ({
      ...each,
      links: each.links.map((link) => ({ ...link, used: true })),
    }));
    const merged = mergeTopologies([exynos(kernel), { ...firmware, devices, findings: [] }]);
    expect(merged.findings).toMatchObject([{ id: "several-iommus", severity: "note" }]);
    expect(find(merged, PORT).links.map(({ used }) => used)).toEqual([true, true]);
  });

  it("finds a device that is there though the device tree switches it off", () => {
    const off = tree(changed("port: dma-port@9030000 {", 'port: dma-port@9030000 { status = "disabled";'));
    const { findings } = mergeTopologies([live(), off]);
    expect(findings).toMatchObject([
      {
        id: "enabled-differs",
        text: `${PORT} is there, says the kernel, and disabled by the device tree (its status is disabled)`,
      },
    ]);
  });

  it("finds addresses that firmware keeps and the kernel does not", () => {
    const kept = (start: bigint, end: bigint): Topology => {
      const firmware = tree();
      const reserved = [{ start, end, type: "reserved" }];
      return {
        ...firmware,
        devices: firmware.devices.map((each) => (each.name === PORT ? { ...each, reserved } : each)),
      };
    };
    const { findings } = mergeTopologies([live(), kept(0x8000000n, 0x8100000n)]);
    expect(findings).toMatchObject([
      {
        id: "reserved-differs",
        severity: "warning",
        text: `the device tree keeps 0x8000000 to 0x8100000 for ${PORT}, and the kernel does not reserve it in group 2`,
      },
    ]);
    expect(mergeTopologies([live(), kept(0x8000000n, 0x80fffffn)]).findings).toEqual([]);
    const unread = live();
    const groups = unread.groups.map((group) => ({ ...group, reserved: [] }));
    expect(mergeTopologies([{ ...unread, groups }, kept(0x1000n, 0x1fffn)]).findings).toEqual([]);
  });

  it("carries what firmware alone knows: coherence, aliases; and the kernel's names of devices", () => {
    const named = changed(
      "gic: interrupt-controller",
      'aliases { dma0 = "/dma-port@9030000"; }; gic: interrupt-controller',
    );
    const merged = mergeTopologies([live(), tree(named)]);
    expect(merged.aliases?.get("dma0")).toBe("/dma-port@9030000");
    expect(merged.iommus.map(({ device, coherent }) => [device, coherent])).toEqual([
      ["c000000.iommu", true],
      ["c020000.iommu", true],
    ]);
    expect(find(merged, PORT).coherent).toBe(true);
    // Of a function without a node its host's holds.
    expect(find(mergeTopologies([live(), iort(0)]), FUNCTION).coherent).toBe(true);
    expect(live().devices.every(({ coherent }) => coherent === undefined)).toBe(true);
  });

  it("keeps the links that the kernel does not use, as such", () => {
    const source = changed("iommus = <&smmu1 0x42>", "iommus = <&smmu1 0x42>, <&smmu0 0x43>");
    const { links } = find(mergeTopologies([live(), tree(source)]), PORT);
    expect(links.map(({ via, used }) => [via, used])).toEqual([
      ["sysfs", true],
      ["iommus", false],
    ]);
  });

  it("gives platform devices the IDs of an IORT's components, which are named by their place in ACPI's namespace", () => {
    using tree = new SysfsTree();
    const smmu = "smmu3.0x0000000000001000";
    tree.iommu(smmu, "platform/arm-smmu-v3.0.auto");
    tree.group(4, "");
    tree.device({ bus: "platform", name: "ACME0001:00", parent: "platform", group: 4, iommu: smmu });
    tree.file("/sys/devices/platform/ACME0001:00/uevent", "MODALIAS=acpi:ACME0001:\n");
    tree.file("/sys/devices/LNXSYSTM:00/ACME0001:00/path", "\\_SB_.DMA0\n");
    tree.link("/sys/devices/platform/ACME0001:00/firmware_node", "/sys/devices/LNXSYSTM:00/ACME0001:00");
    const table = iortTable([
      { body: { type: "smmu-v3", address: 0x1000n, model: 0, flags: 0, ownMapping: undefined } },
      {
        body: { type: "named-component", name: "\\_SB_.DMA0", flags: 0, memory: { coherent: true, flags: 3 } },
        mappings: [{ input: 0, last: 0, output: 0x42, target: 0, single: true }],
      },
    ]);
    const merged = mergeTopologies([topologyOfSysfs(new Folder(tree.host("/sys"))), topologyOfAcpi(table, "IORT")]);
    expect(merged.devices).toMatchObject([
      { name: "ACME0001:00", coherent: true, links: [{ via: "sysfs", ids: [{ first: 0x42, count: 1 }] }] },
    ]);
    expect(merged.findings).toEqual([]);
    expect(merged.iommus).toMatchObject([{ name: smmu, device: "arm-smmu-v3.0.auto" }]);
  });

  it("knows the units of Intel and AMD again, by address and by name", () => {
    using tree = new SysfsTree();
    const unit = (name: string, parent: string) => tree.iommu(name, parent);
    const fn = (name: string, iommu: string) =>
      tree.device({ bus: "pci", name, parent: "pci0000:00", driver: "x", group: 1, iommu });
    unit("dmar0", "virtual/dmar0");
    unit("dmar1", "virtual/dmar1");
    unit("ivhd0", "virtual/ivhd0");
    tree.file("/sys/devices/virtual/dmar0/iommu/dmar0/intel-iommu/address", "fed90000\n");
    tree.file("/sys/devices/virtual/dmar1/iommu/dmar1/intel-iommu/address", "fed91000\n");
    tree.group(1, "");
    fn("0000:00:02.0", "dmar0");
    fn("0000:00:1f.0", "dmar1");
    fn("0001:00:03.0", "ivhd0");
    const machine = topologyOfSysfs(new Folder(tree.host("/sys")));
    const merged = mergeTopologies([machine, topologyOfAcpi(dmar(), "DMAR"), topologyOfAcpi(ivrs(), "IVRS")]);
    expect(merged.findings).toEqual([]);
    expect(merged.iommus.map(({ name, paths }) => [name, Object.keys(paths).sort()])).toEqual([
      ["dmar0", ["dmar", "sysfs"]],
      ["dmar1", ["dmar", "sysfs"]],
      ["ivhd0", ["ivrs", "sysfs"]],
    ]);
    expect(find(merged, "0000:00:02.0").links).toMatchObject([{ via: "sysfs", ids: [{ first: 0x10 }] }]);
    expect(find(merged, "0000:00:02.0").reserved).toHaveLength(1);
    expect(find(merged, "0000:00:1f.0").links).toMatchObject([{ via: "sysfs", ids: [] }]);
    expect(find(merged, "0001:00:03.0").links).toMatchObject([{ via: "sysfs", ids: [{ first: 0x18 }] }]);
  });
});
