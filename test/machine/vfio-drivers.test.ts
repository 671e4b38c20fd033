import { afterEach, beforeEach, expect, it } from "vitest";
import { findDevice } from "../../src/machine/devices.js";
import { Snapshot } from "../../src/machine/snapshot.js";
import { bindCommands, hasVfioDriver, requireVfioDriver } from "../../src/machine/vfio-drivers.js";
import { SysfsKernel } from "./support/sysfs-kernel.js";
import { SMMU0, type SysfsTree, twoSmmuBoard } from "./support/sysfs-tree.js";

let tree: SysfsTree;
let kernel: SysfsKernel;
beforeEach(() => {
  tree = twoSmmuBoard();
  kernel = new SysfsKernel(tree);
});
afterEach(() => tree[Symbol.dispose]());

const require = (name: string) => {
  const snapshot = new Snapshot(kernel.machine);
  requireVfioDriver(snapshot, snapshot.device(name));
};

it("accepts a device on vfio-pci that is alone in its group", () => {
  require("0000:0a:00.0");
});

it.each(["mlx5_vfio_pci", "nvgrace-gpu-vfio-pci", "vfio-amba"])("accepts the variant %s", (driver) => {
  tree.device({ bus: "pci", name: "0000:40:00.0", parent: "pci0000:40", driver });
  require("0000:40:00.0");
});

it("accepts any driver that registers the device with VFIO", () => {
  tree.device({ bus: "pci", name: "0000:40:00.0", parent: "pci0000:40", driver: "vendor-accel" });
  expect(hasVfioDriver(findDevice(kernel.machine, "0000:40:00.0"))).toBe(false);
  tree.directory("/sys/devices/pci0000:40/0000:40:00.0/vfio-dev/vfio1");
  require("0000:40:00.0");
});

it("refuses another driver with the commands that change it", () => {
  expect(() => require("0000:21:00.0")).toThrowError(
    expect.objectContaining({
      code: "ERR_IOSPAN_WRONG_DRIVER",
      message: "0000:21:00.0 is bound to nvme; it must be bound to vfio-pci or a variant of it",
      hint:
        "echo vfio-pci > /sys/bus/pci/devices/0000:21:00.0/driver_override; " +
        "echo 0000:21:00.0 > /sys/bus/pci/devices/0000:21:00.0/driver/unbind; echo 0000:21:00.0 > /sys/bus/pci/drivers_probe",
    }),
  );
});

it("refuses a device without a driver, with nothing to unbind", () => {
  expect(() => require("0000:02:00.0")).toThrowError(
    expect.objectContaining({
      code: "ERR_IOSPAN_WRONG_DRIVER",
      message: expect.stringContaining("has no driver;"),
      hint: "echo vfio-pci > /sys/bus/pci/devices/0000:02:00.0/driver_override; echo 0000:02:00.0 > /sys/bus/pci/drivers_probe",
    }),
  );
});

it("mentions an override that keeps drivers away", () => {
  tree.device({ bus: "pci", name: "0000:40:00.0", parent: "pci0000:40", override: "none" });
  expect(() => require("0000:40:00.0")).toThrowError(/has no driver \(its driver_override is none\)/);
});

it("uses vfio-platform for platform devices", () => {
  expect(() => require("9030000.dma-port")).toThrowError(
    expect.objectContaining({
      code: "ERR_IOSPAN_WRONG_DRIVER",
      hint: expect.stringContaining("echo vfio-platform > /sys/bus/platform/devices/9030000.dma-port/driver_override;"),
    }),
  );
});

it("says how to load a driver that is not there", () => {
  tree.remove("/sys/bus/pci/drivers/vfio-pci");
  expect(() => require("0000:21:00.0")).toThrowError(
    expect.objectContaining({ hint: expect.stringMatching(/^load it: modprobe vfio-pci\necho vfio-pci > /) }),
  );
});

it("names every companion that keeps a group from VFIO, and only those", () => {
  for (const [name, driver] of Object.entries({
    "0000:0a:00.1": "nvme",
    "0000:0a:00.2": "ahci",
    "0000:0a:00.3": "pci-stub",
  })) {
    tree.device({ bus: "pci", name, parent: "pci0000:00", driver, group: 9, iommu: SMMU0 });
  }
  tree.device({ bus: "pci", name: "0000:0a:00.4", parent: "pci0000:00", group: 9, iommu: SMMU0 });
  expect(() => require("0000:0a:00.0")).toThrowError(
    expect.objectContaining({
      code: "ERR_IOSPAN_GROUP_NOT_VIABLE",
      device: "0000:0a:00.0",
      iommu: SMMU0,
      message: expect.stringMatching(
        /^IOMMU group 9 of .*: 0000:0a:00\.1 is bound to nvme, 0000:0a:00\.2 is bound to ahci$/,
      ),
      hint: ["0000:0a:00.1", "0000:0a:00.2"].map((name) => bindCommands(findDevice(kernel.machine, name))).join("\n"),
    }),
  );
});
