import { describe, expect, it } from "vitest";
import { listDevices } from "../../src/machine/devices.js";
import { groupHolders } from "../../src/machine/group-holders.js";
import { groupDevices, reservedRegions } from "../../src/machine/groups.js";
import { listIommus } from "../../src/machine/iommus.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { outcome, Program } from "./program.js";

const A = "0000:02:00.0";
const SYS = `/sys/bus/pci/devices/${A}`;

describe("sysfs", () => {
  it("links as the kernel does", () => {
    const kernel = machineOne();
    expect(kernel.readLink(SYS)).toBe("../../../devices/pci0000:00/0000:00:03.0/0000:02:00.0");
    expect(kernel.readLink(`${SYS}/driver`)).toBe("../../../../bus/pci/drivers/vfio-pci");
    expect(kernel.readLink(`${SYS}/iommu_group`)).toBe("../../../../kernel/iommu_groups/6");
    expect(kernel.readLink(`${SYS}/iommu`)).toBe("../../../platform/arm-smmu-v3.0.auto/iommu/smmu3.0x000000000c000000");
    expect(kernel.readLink("/sys/class/iommu/smmu3.0x000000000c020000")).toBe(
      "../../devices/platform/arm-smmu-v3.1.auto/iommu/smmu3.0x000000000c020000",
    );
    expect(kernel.readDirectory("/sys/class/iommu/smmu3.0x000000000c020000/devices")).toContain("0000:22:00.0");
    expect(kernel.readDirectory("/sys/kernel/iommu_groups/6/devices")).toEqual([A]);
    expect(kernel.readDirectory(`${SYS}/vfio-dev`)).toEqual(["vfio0"]);
    expect(kernel.readDirectory("/dev/vfio")).toEqual(["10", "6", "vfio"]);
  });

  it("says what a device is", () => {
    const kernel = machineOne();
    const read = (name: string) => kernel.readFile(`${SYS}/${name}`);
    expect(["vendor", "device", "class", "driver_override"].map(read)).toEqual([
      "0x1234\n",
      "0x11e8\n",
      "0x00ff00\n",
      "vfio-pci\n",
    ]);
    expect(read("modalias")).toBe("pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00\n");
    expect(kernel.readFile("/sys/kernel/iommu_groups/6/reserved_regions")).toBe(
      "0x0000000008000000 0x00000000080fffff msi\n",
    );
    expect(kernel.readFile("/proc/sys/kernel/osrelease")).toBe("7.3.4\n");
    expect(kernel.readFile("/sys/bus/pci/devices/0000:01:00.0/driver_override")).toBe("(null)\n");
  });

  it("is what the library's machine model reads", () => {
    const kernel = machineOne();
    const devices = listDevices(kernel, { bus: "pci" });
    expect(devices).toHaveLength(11);
    expect(devices.find(({ name }) => name === A)).toMatchObject({
      driver: "vfio-pci",
      group: 6,
      iommu: { name: "smmu3.0x000000000c000000" },
      vfioDevice: "vfio0",
      pci: { vendor: 0x1234, device: 0x11e8, class: 0x00ff00 },
    });
    expect(listIommus(kernel)).toHaveLength(2);
    expect(groupDevices(kernel, 6).map(({ name }) => name)).toEqual([A]);
    expect(reservedRegions(kernel, 6)).toEqual([{ start: 0x8000000n, end: 0x80fffffn, type: "msi" }]);
  });

  it("shows who has a group open", () => {
    const program = new Program(machineOne());
    const { kernel } = program;
    expect(groupHolders(kernel, 6)).toEqual([]);
    const { groups } = program.open(A);
    expect(groupHolders(kernel, 6)).toEqual([{ pid: 4711, command: "node" }]);
    kernel.close(groups[0]!);
    expect(groupHolders(kernel, 6)).toEqual([{ pid: 4711, command: "node" }]);
  });

  it.each([
    ["nothing", () => machineOne().readFile("/sys/nothing"), "ENOENT"],
    ["a file that only takes writes", () => machineOne().readFile("/sys/bus/pci/drivers_probe"), "EACCES"],
    ["a file that takes none", () => machineOne().writeFile(`${SYS}/vendor`, "1"), "EACCES"],
    ["a directory as a file", () => machineOne().readFile(SYS), "EISDIR"],
    ["a file as a directory", () => machineOne().readDirectory(`${SYS}/vendor`), "ENOTDIR"],
    ["through a file", () => machineOne().readFile(`${SYS}/vendor/x`), "ENOTDIR"],
    ["a link that is none", () => machineOne().readLink(`${SYS}/vendor`), "EINVAL"],
    ["a group that is not bound", () => machineOne().open("/dev/vfio/5", O_RDWR), "ENOENT"],
    ["an iommufd", () => machineOne().open("/dev/iommu", O_RDWR), "ENOENT"],
    ["a toString", () => machineOne().readFile("/sys/toString"), "ENOENT"],
  ])("%s", (_name, call, expected) => {
    expect(outcome(call)).toBe(expected);
  });

  it("keeps descriptors within their limit", () => {
    const kernel = machineOne({ maxFds: 4 });
    kernel.eventfd();
    expect(outcome(() => kernel.eventfd())).toBe("EMFILE");
    expect(outcome(() => kernel.open("/dev/vfio/vfio", O_RDWR))).toBe("EMFILE");
    expect(kernel.containers).toEqual([]);
  });
});

describe("driver binding", () => {
  const NVME = "0000:01:00.0";
  const driver = (kernel: ReturnType<typeof machineOne>) =>
    outcome(() => kernel.readLink(`/sys/bus/pci/devices/${NVME}/driver`));

  it("follows driver_override", () => {
    const kernel = machineOne();
    kernel.writeFile(`/sys/bus/pci/devices/${NVME}/driver_override`, "vfio-pci\n");
    kernel.writeFile("/sys/bus/pci/drivers_probe", NVME);
    expect(driver(kernel)).toMatch(/nvme$/);
    kernel.writeFile("/sys/bus/pci/drivers/nvme/unbind", `${NVME}\n`);
    expect(driver(kernel)).toBe("ENOENT");
    kernel.writeFile("/sys/bus/pci/drivers_probe", NVME);
    expect(driver(kernel)).toMatch(/vfio-pci$/);
    expect(kernel.readDirectory("/dev/vfio")).toContain("5");
    kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", NVME);
    kernel.writeFile(`/sys/bus/pci/devices/${NVME}/driver_override`, "\n");
    kernel.writeFile("/sys/bus/pci/drivers_probe", NVME);
    expect(driver(kernel)).toMatch(/nvme$/);
    expect(kernel.readDirectory("/dev/vfio")).not.toContain("5");
  });

  it.each([
    ["/sys/bus/pci/drivers_probe", "0000:99:00.0", "ENODEV"],
    ["/sys/bus/pci/drivers/vfio-pci/bind", NVME, "ENODEV"],
    ["/sys/bus/pci/drivers/vfio-pci/bind", A, "EBUSY"],
    ["/sys/bus/pci/drivers/vfio-pci/unbind", NVME, "ENODEV"],
    ["/sys/bus/pci/drivers/nvme/bind", "0000:99:00.0", "ENODEV"],
  ])("%s < %s: %s", (path, text, expected) => {
    expect(outcome(() => machineOne().writeFile(path, text))).toBe(expected);
  });

  it("a bridge is nothing for vfio-pci", () => {
    const kernel = machineOne();
    kernel.writeFile("/sys/bus/pci/drivers/pcieport/unbind", "0000:00:02.0");
    kernel.writeFile("/sys/bus/pci/devices/0000:00:02.0/driver_override", "vfio-pci");
    expect(outcome(() => kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", "0000:00:02.0"))).toBe("EINVAL");
  });

  it("refuses a machine that does not fit together", () => {
    const { devices } = machineOneDescription();
    expect(() => machineOne({ devices, iommus: [] })).toThrow(/which the machine lacks/);
  });
});
