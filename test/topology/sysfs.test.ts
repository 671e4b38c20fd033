import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { Folder } from "../../src/cli/machine/folder.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { simulate } from "../../src/sim/simulate.js";
import { topologyOfSysfs } from "../../src/topology/sysfs/topology-of-sysfs.js";
import { SMMU0, SMMU1, SysfsTree, twoSmmuBoard } from "../machine/support/sysfs-tree.js";
import { errorOf } from "../support/errors.js";
import { CopiedSysfs } from "./support/copied-sysfs.js";

const tree = twoSmmuBoard();
afterAll(() => tree[Symbol.dispose]());
const read = (from: SysfsTree) => topologyOfSysfs(new Folder(from.host("/sys")));

describe("a topology of sysfs", () => {
  it("has IOMMUs, groups and devices as the kernel has them", () => {
    const topology = read(tree);
    expect(topology.iommus.map(({ name, kind, addresses }) => ({ name, kind, addresses }))).toEqual([
      { name: SMMU0, kind: "arm,smmu-v3", addresses: [0xc000000n] },
      { name: SMMU1, kind: "arm,smmu-v3", addresses: [0xc020000n] },
    ]);
    expect(topology.groups.map(({ number }) => number)).toEqual([5, 6, 7, 8, 9]);
    expect(topology.groups[0]).toEqual({
      number: 5,
      type: "DMA-FQ",
      reserved: [{ start: 0x8000000n, end: 0x80fffffn, type: "msi" }],
    });
    const port = topology.devices.find(({ name }) => name === "9030000.dma-port");
    expect(port).toMatchObject({
      bus: "platform",
      driver: "dma-port-driver",
      group: 7,
      compatible: ["example,dual-path-dma-port", "example,dma"],
      links: [{ iommu: `/sys/class/iommu/${SMMU1}`, used: true, ids: [] }],
    });
    expect(port?.paths["device-tree"]).toBe("/9030000.dma-port");
    const edu = topology.devices.find(({ name }) => name === "0000:02:00.0");
    expect(edu).toMatchObject({ driver: null, group: 6, requesterId: 0x200, domain: 0, pci: { vendor: 0x1234 } });
    expect(topology.devices.find(({ name }) => name === "9000000.pl011")).toMatchObject({ group: null, links: [] });
    expect(topology.findings).toEqual([]);
  });

  it("is the same of a copy as of the simulated kernel it was copied from", () => {
    for (const { syscalls } of [{ syscalls: machineOne() }, simulate(readChip("three-iommus").content)]) {
      using copied = new CopiedSysfs(syscalls);
      const live = topologyOfSysfs({ syscalls });
      expect(live.iommus.length).toBeGreaterThan(1);
      expect(live.devices.some(({ links }) => links.length > 0)).toBe(true);
      expect(topologyOfSysfs(new Folder(copied.folder))).toEqual(live);
    }
  });

  it("knows other kinds of IOMMU, and devices of other buses that are in a group", () => {
    using other = new SysfsTree();
    other.iommu("dmar0", "virtual");
    other.file("/sys/devices/virtual/iommu/dmar0/intel-iommu/address", "fed90000\n");
    other.iommu("ivhd0", "pci0000:00/0000:00:00.2");
    other.iommu("fdab9000.iommu", "platform/fdab9000.iommu");
    other.file(
      "/sys/firmware/devicetree/base/iommu@fdab9000/compatible",
      "rockchip,rk3588-iommu\0rockchip,rk3568-iommu\0",
    );
    other.link("/sys/devices/platform/fdab9000.iommu/of_node", "/sys/firmware/devicetree/base/iommu@fdab9000");
    other.group(3, "");
    other.directory("/sys/bus/fsl-mc");
    other.directory("/sys/devices/platform/dprc.1");
    other.link("/sys/devices/platform/dprc.1/subsystem", "/sys/bus/fsl-mc");
    other.link("/sys/devices/platform/dprc.1/iommu_group", "/sys/kernel/iommu_groups/3");
    other.link("/sys/devices/platform/dprc.1/iommu", "/sys/devices/virtual/iommu/dmar7");
    other.link("/sys/kernel/iommu_groups/3/devices/dprc.1", "/sys/devices/platform/dprc.1");
    const { iommus, devices } = read(other);
    expect(iommus.map(({ name, kind, addresses }) => [name, kind, addresses])).toEqual([
      ["dmar0", "intel", [0xfed90000n]],
      ["fdab9000.iommu", "rockchip", [0xfdab9000n]],
      ["ivhd0", "amd", []],
      // Only a device's link names it: the class in a copy may not be complete.
      ["dmar7", "intel", []],
    ]);
    expect(iommus[1]?.paths["device-tree"]).toBe("/iommu@fdab9000");
    // Intel's units are no device of their own, AMD's are PCI functions.
    expect(iommus.map(({ device }) => device)).toEqual([undefined, "fdab9000.iommu", "0000:00:00.2", undefined]);
    expect(devices).toMatchObject([{ name: "dprc.1", bus: "fsl-mc", group: 3, driver: null }]);
  });

  it("takes what a device's uevent says, and looks further where there is none or it says too little", () => {
    using tree = new SysfsTree();
    const board = { parent: "pci0000:00", driver: "nvme", group: 3, iommu: "dmar0" } as const;
    tree.iommu("dmar0", "virtual");
    tree.group(3, "");
    tree.device({ bus: "pci", name: "0000:00:02.0", ...board });
    tree.device({ bus: "pci", name: "0000:00:03.0", ...board });
    tree.device({ bus: "platform", name: "4000.dma", parent: "platform" });
    const home = "/sys/devices/pci0000:00/0000:00:02.0";
    const before = read(tree);
    tree.file(`${home}/uevent`, "DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=1B36:0010\nPCI_SLOT_NAME=0000:00:02.0\n");
    tree.file("/sys/devices/pci0000:00/0000:00:03.0/uevent", "DRIVER=other\n");
    tree.file(
      "/sys/devices/platform/4000.dma/uevent",
      "OF_NAME=dma\nOF_FULLNAME=/soc/dma@4000\nOF_COMPATIBLE_0=acme,dma2\nOF_COMPATIBLE_1=acme,dma\nOF_COMPATIBLE_N=2\n",
    );
    const after = read(tree);
    const [quick, slow, port] = ["0000:00:02.0", "0000:00:03.0", "4000.dma"].map(
      (name) => after.devices.find((each) => each.name === name)!,
    );
    const pci = { vendor: 0x1b36, device: 0x10, class: 0x10802 };
    expect(quick).toEqual({ ...before.devices.find(({ name }) => name === "0000:00:02.0"), pci });
    expect(slow).toEqual(before.devices.find(({ name }) => name === "0000:00:03.0"));
    expect(port).toMatchObject({ driver: null, compatible: ["acme,dma2", "acme,dma"], group: null, links: [] });
    expect(port?.paths["device-tree"]).toBe("/soc/dma@4000");
  });

  it("says so where there is no IOMMU", () => {
    using none = new SysfsTree();
    none.directory("/sys/class");
    expect(read(none).findings).toMatchObject([{ id: "no-iommu", severity: "warning" }]);
  });

  it("refuses what is no sysfs, and a group that makes no sense", () => {
    using empty = new SysfsTree();
    expect(errorOf(() => read(empty))).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
    empty.group(1, "what is this\n");
    expect(errorOf(() => read(empty))).toMatchObject({ code: "ERR_IOSPAN_MALFORMED_ANSWER" });
  });
});
