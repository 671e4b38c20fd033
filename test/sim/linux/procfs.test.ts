import { describe, expect, it } from "vitest";
import { readChip } from "../../../src/cli/chip-file.js";
import { simulate } from "../../../src/sim/simulate.js";
import { lockLimit } from "../../../src/vfio/lock-limit.js";

const chip = readChip("dual-smmu").content;

describe("/proc of the simulated kernel", () => {
  it("has the process's limits as Linux prints them", () => {
    const { syscalls } = simulate(chip, { memlock: Number.POSITIVE_INFINITY });
    expect(syscalls.readFile("/proc/self/limits").split("\n")).toEqual([
      "Limit                     Soft Limit           Hard Limit           Units     ",
      "Max open files            1024                 1024                 files     ",
      "Max locked memory         unlimited            unlimited            bytes     ",
      "",
    ]);
  });

  it("has who the process is, and what it may", () => {
    const status = (capabilities: readonly "CAP_IPC_LOCK"[]) =>
      simulate(chip, { capabilities }).syscalls.readFile("/proc/self/status");
    expect(status(["CAP_IPC_LOCK"])).toMatch(/^Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0 \n/m);
    expect(status(["CAP_IPC_LOCK"])).toMatch(/^CapEff:\t000001ffffffffff$/m);
    expect(status([])).toMatch(/^CapEff:\t000001ffffffbfff$/m);
  });

  it("lets the library see that the limit does not hold for the process", () => {
    expect(lockLimit(simulate(chip).syscalls)).toEqual({ bytes: 8 * 2 ** 20, isWithout: true });
    expect(lockLimit(simulate(chip, { capabilities: [] }).syscalls)).toEqual({ bytes: 8 * 2 ** 20, isWithout: false });
  });

  it("has the size of pages and of memory", () => {
    const { syscalls } = simulate(chip, { pageSize: 65536 });
    const words = new BigUint64Array(Uint8Array.from(syscalls.readBytes("/proc/self/auxv")).buffer);
    expect([...words]).toEqual([6n, 65536n, 0n, 0n]);
    expect(syscalls.readFile("/proc/meminfo")).toBe("MemTotal:        4194304 kB\n");
    expect(syscalls.readFile("/proc/cmdline")).toBe("\n");
  });
});

describe("/sys/module of the simulated kernel", () => {
  it("has a folder for each part of VFIO that is there", () => {
    const modules = (options: Parameters<typeof simulate>[1]) =>
      simulate(chip, options).syscalls.readDirectory("/sys/module");
    const all = ["iommufd", "vfio", "vfio_iommu_type1", "vfio_pci", "vfio_platform", "vfio_platform_base"];
    expect(modules({})).toEqual(all);
    expect(modules({ iommufd: false })).toEqual(all.filter((name) => name !== "iommufd"));
    expect(modules({ container: "iommufd" })).toEqual(all.filter((name) => name !== "vfio_iommu_type1"));
  });
});
