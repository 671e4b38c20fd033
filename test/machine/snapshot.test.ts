import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { findDevice } from "../../src/machine/devices.js";
import { bindToVfio } from "../../src/machine/driver-binding.js";
import type { Machine } from "../../src/machine/machine.js";
import { Snapshot } from "../../src/machine/snapshot.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";
import { SysfsKernel } from "./support/sysfs-kernel.js";
import { type SysfsTree, twoSmmuBoard } from "./support/sysfs-tree.js";

/** A machine that notes each access of sysfs and /proc. */
function watched(syscalls: Syscalls): { machine: Machine; accesses: string[] } {
  const accesses: string[] = [];
  const around = <T>(call: { readonly name: string; readonly path?: string }, proceed: () => T): T => {
    if (/^(read-|readlinkat|write-)/.test(call.name)) accesses.push(`${call.name} ${call.path}`);
    return proceed();
  };
  return { machine: { syscalls: intercepted(syscalls, around) }, accesses };
}

/** What was read twice although nothing had been written in between. */
function repeated(accesses: readonly string[]): readonly string[] {
  const runs: string[][] = [[]];
  for (const access of accesses) {
    if (access.startsWith("write-")) runs.push([]);
    else runs.at(-1)?.push(access);
  }
  return runs.flatMap((run) => run.filter((access, index) => run.indexOf(access) !== index));
}

let tree: SysfsTree;
let kernel: SysfsKernel;
beforeEach(() => {
  tree = twoSmmuBoard();
  kernel = new SysfsKernel(tree, { matches: { nvme: ["0000:21:00.0"] } });
});
afterEach(() => tree[Symbol.dispose]());

describe("a snapshot", () => {
  it("says of a device what findDevice says, but for what kind of device it is", () => {
    for (const name of ["0000:01:00.0", "0000:0a:00.0", "9030000.dma-port", "9000000.pl011"]) {
      const { pci: _pci, compatible: _compatible, modalias: _modalias, ...state } = findDevice(kernel.machine, name);
      expect(new Snapshot(kernel.machine).device(name)).toEqual(state);
    }
  });

  it("reads a device once, by whatever name, and as a companion", () => {
    const { machine, accesses } = watched(kernel.syscalls);
    const snapshot = new Snapshot(machine);
    const device = snapshot.device("01:00.0");
    expect(snapshot.device("/sys/bus/pci/devices/0000:01:00.0")).toBe(device);
    expect(snapshot.groupDevices(5)).toContain(device);
    expect(snapshot.groupDevices(5).map(({ name }) => name)).toEqual(["0000:00:02.0", "0000:01:00.0", "0000:01:00.1"]);
    expect(snapshot.device("0000:01:00.1")).toBe(snapshot.groupDevices(5)[2]);
    expect(repeated(accesses)).toEqual([]);
  });

  it("shows what was, and the next one what is", () => {
    const snapshot = new Snapshot(kernel.machine);
    expect(snapshot.device("0000:21:00.0").driver).toBe("nvme");
    bindToVfio(kernel.machine, "0000:21:00.0");
    expect(snapshot.device("0000:21:00.0").driver).toBe("nvme");
    expect(new Snapshot(kernel.machine).device("0000:21:00.0").driver).toBe("vfio-pci");
  });

  it("leaves out of a group what is on no bus that it knows, and finds it no more by name", () => {
    tree.link("/sys/kernel/iommu_groups/6/devices/ahb0", "/sys/devices/platform");
    const snapshot = new Snapshot(kernel.machine);
    for (let time = 0; time < 2; time += 1) {
      expect(snapshot.groupDevices(6).map(({ name }) => name)).toEqual(["0000:02:00.0"]);
      expect(() => snapshot.device("ahb0")).toThrowError(expect.objectContaining({ code: "ERR_IOSPAN_NO_DEVICE" }));
    }
  });

  it("does not remember a refusal", () => {
    const syscalls = faulty(kernel.syscalls, { nth: 2, errno: errno.EIO });
    const snapshot = new Snapshot({ syscalls });
    expect(() => snapshot.device("0000:21:00.0")).toThrowError(expect.objectContaining({ errno: errno.EIO }));
    expect(snapshot.device("0000:21:00.0").driver).toBe("nvme");
  });

  it("refuses a group that is not there", () => {
    expect(() => new Snapshot(kernel.machine).groupDevices(99)).toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_NO_IOMMU" }),
    );
  });
});

describe("an operation reads what it needs, once", () => {
  it("asks for nothing that is not listed", () => {
    const { machine, accesses } = watched(kernel.syscalls);
    findDevice(machine, "9000000.pl011");
    expect(accesses).toEqual([
      "read-directory /sys/bus/platform/devices/9000000.pl011",
      "read-file /sys/bus/platform/devices/9000000.pl011/driver_override",
    ]);
  });

  it("binding, and giving back", () => {
    const { machine, accesses } = watched(kernel.syscalls);
    const device = "/sys/bus/pci/devices/0000:21:00.0";
    const state = [
      `read-directory ${device}`,
      `readlinkat ${device}/iommu_group`,
      `readlinkat ${device}/iommu`,
      `readlinkat ${device}/driver`,
      `read-file ${device}/driver_override`,
    ];
    const now = [`read-directory ${device}`, `readlinkat ${device}/driver`, `read-file ${device}/driver_override`];
    const binding = bindToVfio(machine, "0000:21:00.0");
    expect(accesses.toSorted()).toEqual(
      [
        ...state,
        "read-directory /sys/bus/pci/drivers/vfio-pci",
        `write-file ${device}/driver_override`,
        "write-file /sys/bus/pci/drivers/nvme/unbind",
        "write-file /sys/bus/pci/drivers_probe",
        ...now,
      ].toSorted(),
    );
    accesses.length = 0;
    binding.restore();
    expect(accesses.toSorted()).toEqual(
      [
        ...state,
        `read-directory ${device}/vfio-dev`,
        "read-directory /sys/kernel/iommu_groups/8/devices",
        "read-directory /proc",
        `write-file ${device}/driver_override`,
        "write-file /sys/bus/pci/drivers/vfio-pci/unbind",
        "write-file /sys/bus/pci/drivers_probe",
        ...now,
      ].toSorted(),
    );
  });

  it.each([
    ["7.3.4", "auto", "shared-container"],
    // Linux 6.14 refuses the first strategy that auto tries, after both devices were looked at.
    ["6.14.0", "auto", "mirrored"],
    ["7.3.4", "mirrored", "mirrored"],
  ] as const)("opening on Linux %s with %s", async (release, strategy, chosen) => {
    const { machine, accesses } = watched(machineOne({ release }).syscalls);
    const space = await IoAddressSpace.open(machine, ["0000:02:00.0", "0000:22:00.0"], { strategy });
    expect(space.strategy).toBe(chosen);
    expect(repeated(accesses)).toEqual([]);
    // Per device its directory, group, IOMMU, driver, override, VFIO device, and its group's devices.
    expect(accesses.filter((access) => access.includes(" /sys/"))).toHaveLength(14);
    accesses.length = 0;
    await expect(space.attach("0000:01:00.0")).rejects.toThrowError(
      expect.objectContaining({ code: "ERR_IOSPAN_WRONG_DRIVER" }),
    );
    expect(repeated(accesses)).toEqual([]);
    await space.close();
  });
});
