import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { findDevice } from "../../src/machine/devices.js";
import { bindToVfio } from "../../src/machine/driver-binding.js";
import { errorOf } from "../support/errors.js";
import { type KernelRules, SysfsKernel } from "./support/sysfs-kernel.js";
import { SMMU0, type SysfsTree, twoSmmuBoard } from "./support/sysfs-tree.js";

let tree: SysfsTree;
let kernel: SysfsKernel;
const rules: KernelRules = {
  matches: { nvme: ["0000:01:00.0", "0000:21:00.0"], "dma-port-driver": ["9030000.dma-port"] },
};
beforeEach(() => {
  tree = twoSmmuBoard();
  kernel = new SysfsKernel(tree, rules);
});
afterEach(() => tree[Symbol.dispose]());

const state = (name: string) => {
  const { driver, driverOverride } = findDevice(kernel.machine, name);
  return { driver, override: driverOverride };
};
const bind = (name: string, driver?: string) =>
  bindToVfio(kernel.machine, name, driver === undefined ? {} : { driver });

describe("binding and back", () => {
  it.each([
    ["0000:21:00.0", "vfio-pci", "nvme"],
    ["0000:02:00.0", "vfio-pci", undefined],
    ["9030000.dma-port", "vfio-platform", "dma-port-driver"],
  ])("takes %s to %s from %s", (name, driver, previousDriver) => {
    const before = tree.snapshot();
    const binding = bind(name);
    expect(binding).toMatchObject({ device: name, driver, previousDriver, previousOverride: undefined });
    expect(state(name)).toEqual({ driver, override: driver });
    binding.restore();
    expect(tree.snapshot()).toEqual(before);
  });

  it("writes what a person would", () => {
    const binding = bind("21:00.0");
    binding.restore();
    expect(kernel.writes).toEqual([
      "/sys/bus/pci/devices/0000:21:00.0/driver_override vfio-pci",
      "/sys/bus/pci/drivers/nvme/unbind 0000:21:00.0",
      "/sys/bus/pci/drivers_probe 0000:21:00.0",
      "/sys/bus/pci/devices/0000:21:00.0/driver_override \n",
      "/sys/bus/pci/drivers/vfio-pci/unbind 0000:21:00.0",
      "/sys/bus/pci/drivers_probe 0000:21:00.0",
    ]);
  });

  it("is undone at the end of its scope, once", () => {
    {
      using binding = bind("0000:21:00.0");
      expect(binding.previousDriver).toBe("nvme");
      binding.restore();
      kernel.writes.length = 0;
    }
    expect(state("0000:21:00.0")).toEqual({ driver: "nvme", override: undefined });
    expect(kernel.writes).toEqual([]);
  });

  it("does not take the device away from a later binding", () => {
    const first = bind("0000:21:00.0");
    first.restore();
    bind("0000:21:00.0");
    first.restore();
    expect(state("0000:21:00.0").driver).toBe("vfio-pci");
  });

  it("does nothing to a device that is there already", () => {
    for (const binding of [bind("0000:0a:00.0"), bind("0000:0a:00.0", "vfio-pci")]) {
      expect(binding).toMatchObject({ driver: "vfio-pci", previousDriver: "vfio-pci" });
      binding.restore();
    }
    expect(kernel.writes).toEqual([]);
  });

  it("leaves a device on the variant driver it has", () => {
    tree.device({ bus: "pci", name: "0000:40:00.0", parent: "pci0000:40", driver: "mlx5_vfio_pci" });
    expect(bind("0000:40:00.0").driver).toBe("mlx5_vfio_pci");
    expect(kernel.writes).toEqual([]);
  });

  it("goes from one VFIO driver to another and back", () => {
    tree.driver("pci", "mlx5_vfio_pci");
    const before = tree.snapshot();
    const binding = bind("0000:0a:00.0", "mlx5_vfio_pci");
    expect(state("0000:0a:00.0")).toEqual({ driver: "mlx5_vfio_pci", override: "mlx5_vfio_pci" });
    binding.restore();
    expect(tree.snapshot()).toEqual(before);
  });

  it.each(["vfio-pci", "ahci", "no-such-driver"])(
    "puts back the override %s, though it names another driver",
    (override) => {
      tree.file("/sys/bus/pci/devices/0000:21:00.0/driver_override", `${override}\n`);
      const before = tree.snapshot();
      const binding = bind("0000:21:00.0");
      expect(binding.previousOverride).toBe(override);
      binding.restore();
      expect(tree.snapshot()).toEqual(before);
      expect(state("0000:21:00.0")).toEqual({ driver: "nvme", override });
    },
  );

  it("gives the device to the driver that had it, not to the first that matches", () => {
    kernel.rules = { matches: { ahci: ["0000:21:00.0"], nvme: ["0000:21:00.0"] } };
    bind("0000:21:00.0").restore();
    expect(state("0000:21:00.0").driver).toBe("nvme");
  });

  it("takes a device without an IOMMU from its driver in no-IOMMU mode only", () => {
    tree.driver("platform", "uart-pl011");
    tree.link("/sys/devices/platform/9000000.pl011/driver", "/sys/bus/platform/drivers/uart-pl011");
    expect(() => bind("9000000.pl011")).toThrowError(expect.objectContaining({ code: "ERR_IOSPAN_NO_IOMMU" }));
    expect(kernel.writes).toEqual([]);
    tree.file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    expect(bind("9000000.pl011").driver).toBe("vfio-platform");
  });

  it("leaves a device that no driver has probed to the kernel, which may put it into a group only then", () => {
    expect(findDevice(kernel.machine, "9000000.pl011").group).toBeUndefined();
    expect(bind("9000000.pl011").driver).toBe("vfio-platform");
  });

  it("says that such a device has no IOMMU when the probe finds none, and undoes", () => {
    kernel.rules = { ...rules, probe: (driver) => (driver === "vfio-platform" ? "EINVAL" : "ok") };
    const before = tree.snapshot();
    expect(() => bind("9000000.pl011")).toThrowError(expect.objectContaining({ code: "ERR_IOSPAN_NO_IOMMU" }));
    expect(tree.snapshot()).toEqual(before);
  });
});

describe("what the kernel refuses", () => {
  const untouched = { driver: "nvme", override: undefined };

  it.each([
    ["vfio-pci", "load it: modprobe vfio-pci"],
    ["xe-vfio-pci", "load it: modprobe xe-vfio-pci"],
    ["../../../vfio", "load it: modprobe ../../../vfio"],
  ])("does not begin without the driver %s", (driver, hint) => {
    tree.remove("/sys/bus/pci/drivers/vfio-pci");
    expect(() => bind("0000:21:00.0", driver)).toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_NO_VFIO", hint }),
    );
    expect(kernel.writes).toEqual([]);
  });

  it("tells the name of a driver that is written with the other dash", () => {
    expect(errorOf(() => bind("0000:21:00.0", "vfio_pci"))).toMatchObject({
      ...{ code: "ERR_IOSPAN_NO_VFIO", hint: "the driver's name is vfio-pci" },
    });
  });

  it.each(["nvme", "pci-stub", "", "VFIO-PCI"])("does not bind to %j, which is none of VFIO's", (driver) => {
    const error = errorOf(() => bind("0000:21:00.0", driver));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", device: "0000:21:00.0" });
    expect(error.message).toContain("is no driver of VFIO's");
    expect(error.hint).toContain("leave `driver` out for vfio-pci");
    expect(kernel.writes).toEqual([]);
  });

  it.each([
    ["0000:21:00.0", "vfio-platform", "platform", "pci"],
    ["9030000.dma-port", "mlx5_vfio_pci", "pci", "platform"],
  ])("does not send %s to %s, which no modprobe would help", (name, driver, wanted, bus) => {
    const error = errorOf(() => bind(name, driver));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", device: name });
    expect(error.message).toBe(`${driver} is for ${wanted} devices, and ${name} is a ${bus} device`);
    expect(error.hint).not.toContain("modprobe");
    expect(kernel.writes).toEqual([]);
  });

  // The types rule it out; programs in JavaScript do not have them.
  it.each([undefined, null, 5, 5n, { name: "0000:21:00.0" }])("is not named a device by %o", (name) => {
    const error = errorOf(() => Reflect.apply(bindToVfio, undefined, [kernel.machine, name]));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toMatch(/^a device is named by text, not by (undefined|null|number|bigint|object)$/);
  });

  it.each([undefined, null, "0000:21:00.0", {}, { syscalls: {} }])("is no machine: %o", (machine) => {
    const error = errorOf(() => Reflect.apply(bindToVfio, undefined, [machine, "0000:21:00.0"]));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", hint: expect.stringContaining("linux()") });
  });

  it.each([
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", "root"],
    ["EACCES", "ERR_IOSPAN_NO_PERMISSION", "root"],
    ["EROFS", "ERR_IOSPAN_NO_PERMISSION", "read-only"],
    ["EINVAL", "ERR_IOSPAN_BIND_REFUSED", "dma-coherent"],
    ["EBUSY", "ERR_IOSPAN_BIND_REFUSED", "sriov_numvfs"],
    ["ENODEV", "ERR_IOSPAN_BIND_REFUSED", "dmesg | grep 0000:21:00.0"],
    ["ENOMEM", "ERR_IOSPAN_BIND_REFUSED", "dmesg | grep 0000:21:00.0"],
  ] as const)("explains %s of the probe and undoes", (answer, code, hint) => {
    kernel.rules = { ...rules, probe: (driver) => (driver === "vfio-pci" ? answer : "ok") };
    const before = tree.snapshot();
    expect(() => bind("0000:21:00.0")).toThrowError(
      expect.objectContaining({
        code,
        errno: errno[answer],
        device: "0000:21:00.0",
        message: `cannot bind 0000:21:00.0 to vfio-pci: ${answer}; it has driver nvme and no override, as before`,
        hint: expect.stringContaining(hint),
      }),
    );
    expect(tree.snapshot()).toEqual(before);
  });

  it("explains vfio-platform's wish for a reset handler", () => {
    kernel.rules = { ...rules, probe: (driver) => (driver === "vfio-platform" ? "ENOENT" : "ok") };
    expect(() => bind("9030000.dma-port")).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_BIND_REFUSED",
        errno: errno.ENOENT,
        hint: expect.stringContaining("vfio_platform.reset_required=0"),
      }),
    );
    expect(state("9030000.dma-port").driver).toBe("dma-port-driver");
  });

  it("says that bridges are not for VFIO", () => {
    kernel.rules = {
      matches: { pcieport: ["0000:00:02.0"] },
      probe: (driver) => (driver === "vfio-pci" ? "EINVAL" : "ok"),
    };
    expect(() => bind("0000:00:02.0")).toThrowError(
      expect.objectContaining({ hint: expect.stringContaining("bridges") }),
    );
  });

  it("says when the writes were accepted and nothing came of them", () => {
    kernel.syscalls.writeFile = () => {};
    expect(() => bind("0000:21:00.0")).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_BIND_REFUSED",
        message: expect.stringContaining("accepted every write"),
      }),
    );
  });

  it("does not take a device away from who has it open", () => {
    const binding = bind("0000:21:00.0");
    tree.process(200, "nvmf_tgt", { 7: "/dev/vfio/8" });
    kernel.writes.length = 0;
    expect(() => binding.restore()).toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_GROUP_BUSY", message: expect.stringContaining("200 (nvmf_tgt)") }),
    );
    expect(kernel.writes).toEqual([]);
    tree.remove("/proc/200");
    binding.restore();
    expect(state("0000:21:00.0")).toEqual(untouched);
  });

  it("does not advise this process to end itself", () => {
    const binding = bind("0000:21:00.0");
    tree.process(200, "node", { 7: "/dev/vfio/8" });
    tree.literalLink("/proc/self", "200");
    expect(() => binding.restore()).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_GROUP_BUSY",
        hint: expect.stringContaining("close the space first"),
      }),
    );
    expect(() => binding.restore()).toThrowError(
      expect.objectContaining({ hint: expect.not.stringContaining("kill") }),
    );
    tree.remove("/proc/200");
    binding.restore();
  });

  it("explains a previous driver kept away by VFIO owning the group, and stays on VFIO", () => {
    const binding = bind("0000:01:00.0");
    const bound = tree.snapshot();
    kernel.rules = { ...rules, configure: (driver) => (driver === "nvme" ? "EBUSY" : "ok") };
    expect(() => binding.restore()).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_GROUP_BUSY",
        iommu: SMMU0,
        message: expect.stringContaining("it has driver vfio-pci and override vfio-pci, as before"),
      }),
    );
    expect(tree.snapshot()).toEqual(bound);
    kernel.rules = rules;
    binding.restore();
    expect(state("0000:01:00.0")).toEqual(untouched);
  });

  it("says that the previous driver is gone", () => {
    const binding = bind("0000:21:00.0");
    tree.remove("/sys/bus/pci/drivers/nvme");
    expect(() => binding.restore()).toThrowError(expect.objectContaining({ hint: "load it: modprobe nvme" }));
    expect(state("0000:21:00.0").driver).toBe("vfio-pci");
  });

  it("says that undoing failed too", () => {
    kernel.rules = { ...rules, probe: () => "EIO" };
    expect(() => bind("0000:21:00.0")).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_BIND_REFUSED",
        message: expect.stringMatching(
          /^cannot bind .* to vfio-pci: EIO; undoing it failed too, .*: cannot bind .* to nvme: EIO$/,
        ),
        cause: expect.any(AggregateError),
      }),
    );
  });

  it("says that the device went away", () => {
    const binding = bind("0000:21:00.0");
    tree.remove("/sys/bus/pci/devices/0000:21:00.0");
    expect(() => binding.restore()).toThrowError(expect.objectContaining({ code: "ERR_IOSPAN_NO_DEVICE" }));
  });
});
