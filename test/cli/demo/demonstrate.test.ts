import { describe, expect, it } from "vitest";
import { readChip } from "../../../src/cli/chip-file.js";
import { type ApproachName, approachNames } from "../../../src/cli/demo/approaches.js";
import { demonstrate } from "../../../src/cli/demo/demonstrate.js";
import type { ApproachReport, DemoResult } from "../../../src/cli/demo/result.js";
import { findDevice } from "../../../src/machine/devices.js";
import { simulate } from "../../../src/sim/simulate.js";
import type { SimulateOptions } from "../../../src/sim/simulate-options.js";
import type { SimulatedMachine } from "../../../src/sim/simulated-machine.js";
import { errorFrom } from "../../support/errors.js";

const FUNCTION = "0000:01:00.0";
const PORT = "9030000.dma-port";

function run(chip: string, options: SimulateOptions = {}, approaches: readonly ApproachName[] = approachNames) {
  const { content } = readChip(chip);
  return demonstrate(() => simulate(content, options), { chip, approaches });
}

/** What became of each approach: `works`, or the errno or code it failed with. */
function outcomes({ approaches }: DemoResult): Readonly<Record<string, string>> {
  return Object.fromEntries(
    approaches.map(({ approach, works, error }) => [approach, works ? "works" : (error?.errno ?? error?.code ?? "")]),
  );
}

function report({ approaches }: DemoResult, name: ApproachName): ApproachReport {
  const found = approaches.find(({ approach }) => approach === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

describe("one engine behind two SMMUs", async () => {
  const result = await run("dual-smmu");

  it("is described", () => {
    expect(result.machine.iommus.map(({ name }) => name)).toEqual([
      "smmu3.0x000000000c000000",
      "smmu3.0x000000000c020000",
    ]);
    expect(result.machine.interfaces).toEqual([
      { device: FUNCTION, bus: "pci", iommu: "smmu3.0x000000000c000000", group: expect.any(Number) },
      { device: PORT, bus: "platform", iommu: "smmu3.0x000000000c020000", group: expect.any(Number) },
    ]);
    expect(result.machine.engines).toEqual([{ kind: "dual-path", interfaces: [FUNCTION, PORT] }]);
  });

  it("does with each approach what is known of it", () => {
    const others = { mirrored: "works", "shared-container": "works", iommufd: "works" };
    expect(outcomes(result)).toEqual({ "single-domain": "EINVAL", ...others });
    expect(result.asExpected).toBe(true);
  });

  it("is refused one domain by the kernel, when the second interface comes", () => {
    const { error, ...rest } = report(result, "single-domain");
    expect(error).toMatchObject({ syscall: "VFIO_DEVICE_ATTACH_IOMMUFD_PT", errno: "EINVAL" });
    expect(error?.message).toContain(PORT);
    expect(rest).toMatchObject({ containers: 0, domains: 0, pinnedPages: 0, dma: [], throughput: null });
  });

  it.each(["mirrored", "shared-container", "iommufd"] as const)("does DMA over both with %s", (name) => {
    const { dma } = report(result, name);
    expect(dma.map(({ interface: by, source }) => `${by} < ${source}`).sort()).toEqual(
      [`${FUNCTION} < cpu`, `${PORT} < cpu`, `${FUNCTION} < ${PORT}`, `${PORT} < ${FUNCTION}`].sort(),
    );
    for (const each of dma) expect(each).toMatchObject({ bytes: 65536, verified: true });
  });

  it("costs a container and a pin per SMMU, or none of them", () => {
    const costs = (name: ApproachName) => {
      const { containers, domains, pinnedPages, mappedBytes } = report(result, name);
      return { containers, domains, pins: (pinnedPages * 4096) / mappedBytes };
    };
    expect(costs("mirrored")).toEqual({ containers: 2, domains: 2, pins: 2 });
    expect(costs("shared-container")).toEqual({ containers: 1, domains: 2, pins: 1 });
    expect(costs("iommufd")).toEqual({ containers: 0, domains: 2, pins: 1 });
    const { cost } = report(result, "mirrored");
    expect(cost.mapCalls).toBe(2 * report(result, "shared-container").cost.mapCalls);
    expect(cost.systemCalls).toBeGreaterThan(cost.mapCalls);
    for (const smmu of cost.smmus) {
      expect(smmu.commands).toBeGreaterThan(smmu.invalidations);
      expect(smmu.invalidations).toBeGreaterThan(0);
      expect(smmu.walks).toBeGreaterThan(0);
      expect(smmu.hits).toBeGreaterThan(smmu.walks);
    }
  });

  it("is nearly twice as fast over both paths", () => {
    const { throughput } = report(result, "mirrored");
    const [onPci = 0, onPort = 0] = throughput?.paths.map(({ bytesPerSecond }) => bytesPerSecond) ?? [];
    // The links carry 7.877 and 8 GB/s.
    expect(onPci).toBeGreaterThan(7.5e9);
    expect(onPci).toBeLessThan(7.877e9);
    expect(onPort).toBeGreaterThan(7.5e9);
    expect(onPort).toBeLessThan(8e9);
    expect(throughput?.onePath).toBe(Math.max(onPci, onPort));
    expect(throughput?.ratio).toBe((throughput?.bothPaths ?? 0) / (throughput?.onePath ?? 1));
    expect(throughput?.ratio).toBeGreaterThan(1.8);
    expect(throughput?.ratio).toBeLessThan(2);
  });

  it("is the same in every run", async () => {
    expect(await run("dual-smmu")).toEqual(result);
    const [alone] = (await run("dual-smmu", {}, ["iommufd"])).approaches;
    expect(alone).toEqual(report(result, "iommufd"));
  });

  it("leaves the machine as it was", async () => {
    const machines: SimulatedMachine[] = [];
    const boot = () => {
      const machine = simulate(readChip("dual-smmu").content, { drivers: { [PORT]: "vfio-platform" } });
      machines.push(machine);
      return machine;
    };
    await demonstrate(boot, { chip: "dual-smmu", approaches: approachNames });
    expect(machines.length).toBeGreaterThan(approachNames.length);
    for (const machine of machines) {
      expect([machine.openFds, machine.containers, machine.iommufds, machine.pinnedPages]).toEqual([[], [], [], 0]);
      expect(findDevice(machine, FUNCTION).driver).toBeUndefined();
      expect(findDevice(machine, PORT).driver).toBe("vfio-platform");
    }
  });
});

describe("other chips", () => {
  it("one SMMU: one domain serves both interfaces", async () => {
    const result = await run("one-smmu");
    expect(new Set(Object.values(outcomes(result)))).toEqual(new Set(["works"]));
    expect(result.approaches.map(({ domains }) => domains)).toEqual([1, 1, 1, 1]);
    expect(report(result, "mirrored").containers).toBe(1);
    expect(result.asExpected).toBe(true);
  });

  it("two PCIe hosts: an edu on each", async () => {
    const result = await run("two-pcie");
    expect(result.machine.engines).toEqual([{ kind: "edu", interfaces: ["0000:02:00.0", "0001:02:00.0"] }]);
    expect(outcomes(result)["single-domain"]).toBe("EINVAL");
    // 100 ms for each 4 KiB that are read, and again when they are written.
    expect(report(result, "mirrored").throughput).toMatchObject({ onePath: 20480, bothPaths: 40960, ratio: 2 });
    expect(report(result, "mirrored").dma).toHaveLength(4);
    expect(result.asExpected).toBe(true);
  });

  it("three IOMMUs: all three see the same memory", async () => {
    const result = await run("three-iommus");
    const { containers, domains, dma, throughput } = report(result, "mirrored");
    expect([containers, domains, dma.length]).toEqual([3, 3, 6]);
    expect(new Set(dma.map((each) => each.interface)).size).toBe(3);
    expect(throughput?.paths).toHaveLength(2);
    expect(report(result, "shared-container")).toMatchObject({ works: true, containers: 1, domains: 3 });
    expect(result.asExpected).toBe(true);
  });

  it("slow memory: the second path buys nothing, as the chip's figures say", async () => {
    const result = await run("dual-smmu-slow-memory", {}, ["mirrored"]);
    const { throughput } = report(result, "mirrored");
    expect(result.machine.gain).toEqual({ ratio: 1, memoryBandwidth: 12.8e9, limit: "memory" });
    expect(result.asExpected).toBe(true);
    expect(throughput?.ratio).toBeGreaterThan(0.95);
    expect(throughput?.ratio).toBeLessThan(1.05);
  });

  it("page sizes with nothing in common: only containers of their own", async () => {
    const result = await run("unequal-granules");
    expect(result.machine.iommus.map(({ granule }) => granule)).toEqual([4096, 65536]);
    expect(outcomes(result)).toMatchObject({ "single-domain": "EINVAL", mirrored: "works", iommufd: "EINVAL" });
    expect(report(result, "shared-container").works).toBe(false);
    expect(result.asExpected).toBe(true);
  });

  it.each(["unequal-aperture", "unequal-reserved"])("%s: no obstacle", async (chip) => {
    const result = await run(chip);
    expect(Object.values(outcomes(result))).toEqual(["EINVAL", "works", "works", "works"]);
    expect(result.asExpected).toBe(true);
  });

  it("tells what all can address, and who excludes what", async () => {
    const [, second = ""] = (await run("dual-smmu", {}, [])).machine.iommus.map(({ name }) => name);
    const { machine } = await run("unequal-aperture", {}, []);
    expect(machine.space).toMatchObject({ granule: 4096, iovaRanges: [{ start: "0x0" }, { end: "0x7fffffffff" }] });
    const excluded = { start: "0x8000000000", end: "0xffffffffffff", by: [second] };
    expect(machine.space?.removedIovas).toContainEqual(excluded);
    const { space } = (await run("unequal-granules", {}, [])).machine;
    expect(space).toMatchObject({ granule: 65536, pageSizes: [] });
    expect(space?.removedPageSizes).toContainEqual({ size: 4096, by: [second] });
  });

  it("tells what auto takes", async () => {
    expect((await run("dual-smmu", {}, [])).auto?.strategy).toBe("iommufd");
    expect((await run("dual-smmu", { release: "6.1" }, [])).auto?.strategy).toBe("shared-container");
    expect((await run("dual-smmu", { release: "6.14" }, [])).auto?.strategy).toBe("mirrored");
    expect((await run("one-smmu", {}, [])).auto?.strategy).toBe("iommufd");
    const { auto } = await run("unequal-granules", {}, []);
    expect(auto?.plan.map(({ strategy, chosen }) => [strategy, chosen])).toEqual([
      ["iommufd", false],
      ["shared-container", false],
      ["mirrored", true],
    ]);
  });

  it("nothing that does DMA is an error", async () => {
    const text = new TextDecoder().decode(readChip("two-pcie").content).replaceAll('"pci1234,11e8"', '"pci1234,0001"');
    const error = await errorFrom(demonstrate(() => simulate(text), { chip: "x", approaches: approachNames }));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toContain("do DMA");
    const bare = new TextDecoder().decode(readChip("two-pcie").content).replaceAll(/iommu-map = .*/g, "");
    const unmapped = await errorFrom(demonstrate(() => simulate(bare), { chip: "x", approaches: approachNames }));
    expect(unmapped.message).toContain("0000:02:00.0: no IOMMU");
  });
});

describe("other kernels", () => {
  it.each(["5.10", "6.1"])("Linux %s has no iommufd, and logs that a domain is another SMMU's", async (release) => {
    const result = await run("dual-smmu", { release });
    expect(result.approaches.map(({ works }) => works)).toEqual([false, true, true, false]);
    expect(result.asExpected).toBe(true);
    const cannot = expect.stringContaining("cannot attach to SMMU");
    expect(report(result, "shared-container").kernelLog).toEqual([cannot]);
    expect(report(result, "mirrored").kernelLog).toEqual([]);
    expect(result.kernelLog).toEqual(expect.arrayContaining([cannot]));
  });

  it("Linux 6.14 loses DMA, which iospan does not let happen", async () => {
    const result = await run("dual-smmu", { release: "6.14" });
    expect(result.approaches.map(({ works }) => works)).toEqual([false, true, false, false]);
    expect(report(result, "shared-container").error).toMatchObject({ syscall: null, errno: null });
    expect(result.asExpected).toBe(true);
  });
});

describe("a kernel with bugs", () => {
  it("that enters mappings for one SMMU only is found out by DMA", async () => {
    const result = await run("dual-smmu", { bugs: { mapSkips: "smmu1" } }, ["mirrored", "shared-container"]);
    expect(result.asExpected).toBe(false);
    for (const each of result.approaches) {
      expect(each).toMatchObject({ works: false, asExpected: false, throughput: null, domains: 2 });
      expect(each.error?.code).toBe("ERR_IOSPAN_DMA_FAULT");
      expect(each.error?.message).toContain(PORT);
      expect(each.dma).toEqual([{ interface: FUNCTION, bytes: 65536, source: "cpu", verified: true }]);
      expect(each.kernelLog.join("\n")).toMatch(/event/i);
    }
  });

  it("is found out by an edu, too, which does not notice itself", async () => {
    const result = await run("two-pcie", { bugs: { mapSkips: "smmu1" } }, ["mirrored"]);
    expect(result.asExpected).toBe(false);
    const message = expect.stringMatching(/^0001:02:00\.0 was to copy what the CPU wrote: byte \d+ is 0x/);
    expect(report(result, "mirrored").error).toMatchObject({ syscall: null, errno: null, message });
  });

  it("that attaches nowhere is found out by DMA or an iommufd's answers, and not taken for a kernel as expected", async () => {
    const bugs = { attachesNowhere: true };
    const result = await run("dual-smmu", { bugs }, ["single-domain", "shared-container", "iommufd"]);
    expect(result.approaches.map(({ works, asExpected, error }) => [works, asExpected, error?.code])).toEqual([
      [false, false, "ERR_IOSPAN_ATTACH_REFUSED"],
      [false, false, "ERR_IOSPAN_DMA_FAULT"],
      [false, false, "ERR_IOSPAN_ATTACH_REFUSED"],
    ]);
  });
});
