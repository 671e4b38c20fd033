import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { findDevice, listDevices } from "../../src/machine/devices.js";
import { groupDevices, groupNode, reservedRegions } from "../../src/machine/groups.js";
import { listIommus, requireIommu } from "../../src/machine/iommus.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { linuxSyscalls } from "../../src/syscalls/linux.js";
import { SysfsKernel } from "./support/sysfs-kernel.js";
import { SMMU0, SMMU1, type SysfsTree, twoSmmuBoard } from "./support/sysfs-tree.js";

let tree: SysfsTree;
let kernel: SysfsKernel;
beforeAll(() => {
  tree = twoSmmuBoard();
  kernel = new SysfsKernel(tree);
});
afterAll(() => tree[Symbol.dispose]());

describe("findDevice", () => {
  it("reads a PCI device", () => {
    expect(findDevice(kernel.machine, "0000:21:00.0")).toEqual({
      name: "0000:21:00.0",
      bus: "pci",
      path: "/sys/bus/pci/devices/0000:21:00.0",
      driver: "nvme",
      group: 8,
      iommu: { name: SMMU1 },
      noiommu: false,
      driverOverride: undefined,
      vfioDevice: undefined,
      pci: { vendor: 0x1b36, device: 0x0010, class: 0x010802 },
      compatible: undefined,
      modalias: "pci:v00001B36d00000010sv00001AF4",
    });
  });

  it("reads a platform device", () => {
    expect(findDevice(kernel.machine, "9030000.dma-port")).toMatchObject({
      bus: "platform",
      path: "/sys/bus/platform/devices/9030000.dma-port",
      driver: "dma-port-driver",
      group: 7,
      iommu: { name: SMMU1 },
      pci: undefined,
      compatible: ["example,dual-path-dma-port", "example,dma"],
    });
  });

  it("reads what is not there as undefined", () => {
    expect(findDevice(kernel.machine, "0000:02:00.0")).toMatchObject({
      driver: undefined,
      group: 6,
      iommu: { name: SMMU0 },
    });
    expect(findDevice(kernel.machine, "9000000.pl011")).toMatchObject({
      driver: undefined,
      group: undefined,
      iommu: undefined,
    });
  });

  it("reads the override and the name in vfio-dev", () => {
    expect(findDevice(kernel.machine, "0000:0a:00.0")).toMatchObject({
      driverOverride: "vfio-pci",
      vfioDevice: "vfio0",
    });
  });

  it.each([
    ["0a:00.0", "0000:0a:00.0"],
    ["0A:00.0", "0000:0a:00.0"],
    ["0000:0A:00.0", "0000:0a:00.0"],
    ["/sys/bus/pci/devices/0000:0a:00.0", "0000:0a:00.0"],
    ["/sys/devices/pci0000:00/0000:00:02.0/0000:0a:00.0/", "0000:0a:00.0"],
    ["/sys/bus/platform/devices/9030000.dma-port", "9030000.dma-port"],
  ])("takes %s for %s", (text, name) => {
    expect(findDevice(kernel.machine, text).name).toBe(name);
  });

  it.each([
    ["0000:02:00.1", "0000:02:00.0"],
    ["dma-port", "9030000.dma-port"],
    ["9030000.dma_port", "9030000.dma-port"],
    ["22:00.0", "0000:21:00.0"],
  ])("suggests, for %s, %s", (text, near) => {
    expect(() => findDevice(kernel.machine, text)).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_NO_DEVICE",
        message: expect.stringMatching(new RegExp(`did you mean .*${near}`)),
        hint: expect.stringContaining("ls /sys/bus/pci/devices"),
      }),
    );
  });

  it("suggests nothing for what resembles nothing", () => {
    expect(() => findDevice(kernel.machine, "gpu")).toThrowError(
      expect.objectContaining({ message: "there is no PCI or platform device gpu" }),
    );
  });

  it.each(["", ".", "..", "../../../etc", "a/b", "/etc/passwd", "/sys/..", "a\nb", "/sys/"])("refuses %j", (text) => {
    expect(() => findDevice(kernel.machine, text)).toThrowError(
      expect.objectContaining({ code: text === "/sys/" ? "ERR_IOSPAN_NO_DEVICE" : "ERR_IOSPAN_INVALID_ARGUMENT" }),
    );
  });

  it("does not take a refused read for absence", () => {
    const machine = { syscalls: faulty(kernel.syscalls, { nth: 3, errno: errno.EACCES }) };
    expect(() => findDevice(machine, "0000:21:00.0")).toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_NO_PERMISSION", errno: errno.EACCES }),
    );
  });
});

describe("listDevices", () => {
  it("lists both buses, or one", () => {
    const pci = listDevices(kernel.machine, { bus: "pci" }).map(({ name }) => name);
    expect(pci).toEqual([
      "0000:00:02.0",
      "0000:01:00.0",
      "0000:01:00.1",
      "0000:02:00.0",
      "0000:0a:00.0",
      "0000:21:00.0",
    ]);
    const all = listDevices(kernel.machine).map(({ name }) => name);
    expect(all).toEqual([...pci, "9000000.pl011", "9030000.dma-port"]);
  });

  it("leaves out a device that went while the list was read", () => {
    tree.literalLink("/sys/bus/pci/devices/0000:7f:00.0", "../../../devices/gone");
    expect(listDevices(kernel.machine, { bus: "pci" }).map(({ name }) => name)).not.toContain("0000:7f:00.0");
    tree.remove("/sys/bus/pci/devices/0000:7f:00.0");
  });

  it("finds nothing on a machine without sysfs", () => {
    expect(
      listDevices({ syscalls: { ...kernel.syscalls, readDirectory: () => kernel.syscalls.readDirectory("/none") } }),
    ).toEqual([]);
  });
});

describe("groups and IOMMUs", () => {
  it("lists the IOMMUs", () => {
    expect(listIommus(kernel.machine)).toEqual([{ name: SMMU0 }, { name: SMMU1 }]);
  });

  it("lists a group's devices", () => {
    const names = groupDevices(kernel.machine, 5).map(({ name }) => name);
    expect(names).toEqual(["0000:00:02.0", "0000:01:00.0", "0000:01:00.1"]);
  });

  it("reads reserved regions", () => {
    tree.group(
      20,
      "0x0000000008000000 0x00000000080fffff msi\n0x00000000fee00000 0xffffffffffffffff direct-relaxable\n",
    );
    expect(reservedRegions(kernel.machine, 20)).toEqual([
      { start: 0x8000000n, end: 0x80fffffn, type: "msi" },
      { start: 0xfee00000n, end: 0xffffffffffffffffn, type: "direct-relaxable" },
    ]);
    tree.group(20, "");
    expect(reservedRegions(kernel.machine, 20)).toEqual([]);
    tree.group(20, "8000000-80fffff\n");
    expect(() => reservedRegions(kernel.machine, 20)).toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_MALFORMED_ANSWER" }),
    );
  });

  it.each([groupDevices, reservedRegions])("%o refuses a group that is not there", (read) => {
    expect(() => read(kernel.machine, 99)).toThrowError(expect.objectContaining({ code: "ERR_IOSPAN_NO_IOMMU" }));
  });

  it("names a group's node", () => {
    expect([groupNode(7), groupNode(7, { noiommu: true })]).toEqual(["/dev/vfio/7", "/dev/vfio/noiommu-7"]);
  });

  it("requires an IOMMU", () => {
    expect(requireIommu(findDevice(kernel.machine, "0000:02:00.0")).group).toBe(6);
    expect(() => requireIommu(findDevice(kernel.machine, "9000000.pl011"))).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_NO_IOMMU",
        device: "9000000.pl011",
        hint: expect.stringMatching(/intel_iommu=on.*iommu\.passthrough=0/),
      }),
    );
  });

  it("refuses a group that VFIO made up", () => {
    using board = twoSmmuBoard();
    board.group(30, "");
    board.file("/sys/kernel/iommu_groups/30/name", "vfio-noiommu\n");
    board.device({ bus: "pci", name: "0000:30:00.0", parent: "pci0000:30", driver: "vfio-pci", group: 30 });
    const device = findDevice(new SysfsKernel(board).machine, "0000:30:00.0");
    expect(device).toMatchObject({ group: 30, noiommu: true, iommu: undefined });
    expect(() => requireIommu(device)).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_NO_IOMMU",
        message: expect.stringContaining("/dev/vfio/noiommu-30"),
      }),
    );
  });
});

describe.runIf(process.platform === "linux")("this machine", () => {
  it("is read without a complaint", () => {
    const machine = { syscalls: linuxSyscalls() };
    for (const device of listDevices(machine)) {
      expect(findDevice(machine, device.name)).toEqual(device);
      if (device.group !== undefined) expect(groupDevices(machine, device.group)).toContainEqual(device);
    }
    expect(listIommus(machine)).toBeInstanceOf(Array);
  });
});
