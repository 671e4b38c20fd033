import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import { IospanError } from "../../src/errors.js";
import { bindToVfio, DualPathEngine, findDevice, IoAddressSpace, listDevices } from "../../src/index.js";
import type { DeviceFactory } from "../../src/sim/hw/device-model.js";
import { simulate } from "../../src/sim/simulate.js";
import type { SimulateOptions } from "../../src/sim/simulate-options.js";
import type { SimulatedMachine } from "../../src/sim/simulated-machine.js";
import { errorOf } from "../support/errors.js";
import { BRIDGE, board, chipSource, edited, host } from "./chip/board.js";

const chips = new URL("../../chips", import.meta.url);
const chipNames = readdirSync(chips)
  .filter((file) => file.endsWith(".dts"))
  .map((file) => file.slice(0, -".dts".length));
const MiB = 2 ** 20;
const FUNCTION = "0000:01:00.0";
const PORT = "9030000.dma-port";
const NAMES = { function: FUNCTION, port: PORT };

const start = (name: string, options: SimulateOptions = {}) =>
  simulate(chipSource(name), { drivers: "vfio", ...options });
const openBoth = (machine: SimulatedMachine) =>
  IoAddressSpace.open(machine, [FUNCTION, PORT], { strategy: "mirrored" });

describe("a simulated machine", () => {
  it.each(chipNames)("boots from chips/%s.dts, and every interface can be opened", async (name) => {
    const machine = simulate(chipSource(name));
    const names = machine.interfaces.map((each) => each.name);
    expect(names.length).toBeGreaterThan(1);
    for (const each of machine.interfaces) {
      bindToVfio(machine, each.name);
      expect(findDevice(machine, each.name).iommu?.name).toBe(each.iommu);
    }
    await using space = await IoAddressSpace.open(machine, names, { strategy: "mirrored" });
    using buffer = space.allocate(64 * 1024);
    // IOMMU pages that are larger than the processor's take memory of huge pages.
    expect(buffer.bytes).toHaveLength(space.granule > machine.syscalls.pageSize ? 2 ** 21 : 64 * 1024);
    expect(space.audit()).toMatchObject({ consistent: true, differences: [] });
  });

  it("is refused with all devices on VFIO where VFIO does not take one", () => {
    const source = edited(chipSource("dual-smmu"), ["iospan,vfio-reset;", ""]);
    const error = errorOf(() => simulate(source, { drivers: "vfio" }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", device: PORT });
    expect(error.message).toContain("No reset function found");
    expect(error.hint).toContain("resetRequired: false");
    const machine = simulate(source, { drivers: "vfio", resetRequired: false });
    expect(findDevice(machine, PORT).driver).toBe("vfio-platform");
  });

  it("has devices taken from their drivers by another process", async () => {
    const machine = start("dual-smmu");
    const space = await openBoth(machine);
    await machine.unbind(FUNCTION);
    expect(space.interfaces).toEqual([PORT]);
    // Nobody asks for a platform device: whoever has it open is waited for.
    const unbound = machine.unbind(PORT);
    expect(space.interface(PORT).removal.aborted).toBe(false);
    await space.close();
    await unbound;
    expect([FUNCTION, PORT].map((name) => findDevice(machine, name).driver)).toEqual([undefined, undefined]);
  });

  it("has functions of SR-IOV, with tokens", async () => {
    const ids = 'compatible = "pci1af4,1000";';
    const bridge = `${BRIDGE} pf: a@0 { reg = <0 0 0 0 0>; ${ids} };
      b@10,0 { reg = <0x8000 0 0 0 0>; ${ids} iospan,physical-function = <&pf>; };`;
    const source = host(
      `pcie@1,0 { reg = <0x0800 0 0 0 0>; ${bridge} };`,
      "msi-parent = <&its>; iommu-map = <0 &smmu 0 0x10000>;",
    );
    const coherent = edited(source, ["#iommu-cells = <1>;", "#iommu-cells = <1>; dma-coherent;"]);
    const machine = simulate(coherent, { drivers: "vfio" });
    const vfToken = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
    const names = machine.interfaces.map(({ name }) => name);
    expect(names).toEqual(["0000:01:00.0", "0000:01:10.0"]);
    await using space = await IoAddressSpace.open(
      machine,
      names.map((device) => ({ device, vfToken })),
    );
    expect(space.interfaces).toEqual(names);
  });

  it("is what its device tree says", () => {
    const machine = simulate(chipSource("dual-smmu"));
    expect(machine.model).toBe("Dual-path DMA chip");
    expect(machine.interfaces).toEqual([
      {
        name: FUNCTION,
        path: "/pcie@4010000000/pcie@1,0/dma@0,0",
        label: "engine",
        bus: "pci",
        iommu: "smmu3.0x000000000c000000",
        device: "/pcie@4010000000/pcie@1,0/dma@0,0",
      },
      {
        name: PORT,
        path: "/dma-port@9030000",
        label: "port",
        bus: "platform",
        iommu: "smmu3.0x000000000c020000",
        device: "/pcie@4010000000/pcie@1,0/dma@0,0",
      },
    ]);
    expect(machine.smmus.map(({ name, label, path }) => [name, label, path])).toEqual([
      ["smmu3.0x000000000c000000", "smmu0", "/iommu@c000000"],
      ["smmu3.0x000000000c020000", "smmu1", "/iommu@c020000"],
    ]);
    expect(listDevices(machine)).toMatchObject([
      { name: "0000:00:01.0", driver: "pcieport" },
      { name: FUNCTION, driver: undefined, pci: { vendor: 0x1234, device: 0xd9e1 } },
      { name: PORT, driver: undefined, compatible: ["iospan,dual-path-dma-port"] },
    ]);
  });

  it("can be made of a blob, and of a source's bytes", () => {
    const source = chipSource("dual-smmu");
    const blob = encodeBlob(parseSource(source));
    for (const chip of [blob, new TextEncoder().encode(source)]) {
      expect(simulate(chip).interfaces.map(({ name }) => name)).toEqual([FUNCTION, PORT]);
    }
  });

  it("copies memory through either interface, and nearly twice as fast through both", async () => {
    const machine = start("dual-smmu");
    await using space = await openBoth(machine);
    await using engine = await DualPathEngine.open(space, NAMES);
    using from = space.allocate(4 * MiB);
    using to = space.allocate(4 * MiB);
    from.bytes.forEach((_, index) => {
      from.bytes[index] = index * 7 + (index >> 12);
    });
    const speeds: number[] = [];
    for (const via of ["function", "port", "both"] as const) {
      to.bytes.fill(0);
      const { elapsed } = await engine.copy(from.iova, to.iova, 4 * MiB, { via });
      expect(Buffer.compare(to.bytes, from.bytes)).toBe(0);
      speeds.push((4 * MiB) / (elapsed / 1e9));
    }
    const [onFunction = 0, onPort = 0, both = 0] = speeds;
    expect(onFunction).toBeGreaterThan(7e9);
    expect(both / Math.max(onFunction, onPort)).toBeGreaterThan(1.9);
    expect(machine.pinnedPages).toBeGreaterThan(4096);
    expect(machine.smmus[0]?.counters).not.toEqual(machine.smmus[1]?.counters);
  });

  it("copies no faster through both where memory is the limit", async () => {
    await using space = await openBoth(start("dual-smmu-slow-memory"));
    await using engine = await DualPathEngine.open(space, NAMES);
    using from = space.allocate(2 * MiB);
    using to = space.allocate(2 * MiB);
    const one = await engine.copy(from.iova, to.iova, 2 * MiB, { via: "port" });
    const two = await engine.copy(from.iova, to.iova, 2 * MiB, { via: "both" });
    expect(one.elapsed / two.elapsed).toBeGreaterThan(0.95);
    expect(one.elapsed / two.elapsed).toBeLessThan(1.1);
  });

  it("hears the port's level interrupt and resets it, which firmware knows how to do", async () => {
    const machine = start("dual-smmu");
    await using space = await openBoth(machine);
    const port = space.interface(PORT);
    expect(port.resettable).toBe(true);
    expect(port.interrupts).toEqual([{ kind: "irq", count: 1 }]);
    await port.reset();
  });

  it("has its bugs where they are wanted, by label, path or name", async () => {
    for (const smmu of ["smmu1", "/iommu@c020000", "smmu3.0x000000000c020000", "c020000.iommu"]) {
      const machine = start("dual-smmu", { bugs: { mapSkips: smmu } });
      expect(machine.description.bugs).toEqual({ mapSkips: "smmu3.0x000000000c020000" });
    }
    const machine = start("dual-smmu", { bugs: { mapSkips: "smmu1" } });
    await using space = await openBoth(machine);
    await using engine = await DualPathEngine.open(space, NAMES);
    using from = space.allocate(4096);
    using to = space.allocate(4096);
    await engine.copy(from.iova, to.iova, 4096, { via: "function" });
    await expect(engine.copy(from.iova, to.iova, 4096, { via: "port" })).rejects.toThrow(PORT);
    expect(machine.kernelLog.join("\n")).toMatch(/arm-smmu-v3 c020000\.iommu: event/);
  });

  it.each([
    ["5.10", "5.10.223"],
    ["6.1", "6.1.176"],
    ["6.12", "6.12.107"],
    ["6.14", "6.14.0"],
    ["7.3", "7.3.4"],
    [undefined, "7.3.4"],
    ["6.6.30", "6.6.30"],
  ])("runs Linux %s as %s", (release, full) => {
    const machine = simulate(chipSource("two-pcie"), release === undefined ? {} : { release });
    expect(machine.release).toBe(full);
    expect(machine.syscalls.readFile("/proc/sys/kernel/osrelease").trim()).toBe(full);
  });

  it("has devices on the drivers that are asked for", () => {
    const drivers = (options?: SimulateOptions["drivers"]) =>
      Object.fromEntries(
        listDevices(simulate(chipSource("two-pcie"), options === undefined ? {} : { drivers: options })).map(
          ({ name, driver }) => [name, driver],
        ),
      );
    expect(drivers()).toMatchObject({ "0000:01:00.0": "nvme", "0000:02:00.0": undefined, "0000:00:01.0": "pcieport" });
    expect(drivers("vfio")).toMatchObject({ "0000:01:00.0": "vfio-pci", "0000:00:01.0": "pcieport" });
    expect(
      drivers({ nvme0: null, "0000:02:00.0": "vfio-pci", "/pcie@4020000000/pcie@2,0/edu@0,0": "uio" }),
    ).toMatchObject({
      "0000:01:00.0": undefined,
      "0000:02:00.0": "vfio-pci",
      "0001:01:00.0": "nvme",
      "0001:02:00.0": "uio",
    });
  });

  it("lets vfio-platform have only what it can reset, unless told otherwise", () => {
    const source = edited(chipSource("dual-smmu"), ["\t\tiospan,vfio-reset;\n", ""]);
    expect(errorOf(() => bindToVfio(simulate(source), PORT))).toMatchObject({
      code: "ERR_IOSPAN_BIND_REFUSED",
      errno: 2,
    });
    bindToVfio(simulate(source, { resetRequired: false }), PORT);
  });

  it("has the limits that are asked for", async () => {
    const machine = start("dual-smmu", {
      capabilities: [],
      memlock: 65536,
      hugepages2M: 2,
      maxFds: 64,
      dmaEntryLimit: 9,
    });
    expect(machine.syscalls.memlockLimit()).toEqual({ soft: 65536, hard: 65536 });
    expect(machine.syscalls.readFile("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit").trim()).toBe("9");
    await using space = await openBoth(machine);
    expect(errorOf(() => space.allocate(MiB)).code).toBe("ERR_IOSPAN_MEMLOCK");
    await using free = await openBoth(start("dual-smmu", { memlock: 65536 }));
    free.allocate(MiB);
  });

  it("serves devices of the user's, on PCI and on the chip's own bus", async () => {
    const source = edited(
      host(
        'fn: a@1,0 { reg = <0x800 0 0 0 0>, <0x02000810 0 0 0 0x1000>; compatible = "pci1af4,9999", "acme,dma"; };',
        "iommu-map = <0 &smmu 0 0x10000>; msi-map = <0 &its 0 0x10000>;",
      ),
      ["#iommu-cells = <1>;", "#iommu-cells = <1>; dma-coherent;"],
      [
        "pcie@4010000000",
        `dma@9000000 { compatible = "acme,dma"; reg = <0 0x9000000 0 0x1000>; iommus = <&smmu 0x1ff>;
        msi-parent = <&its 0>; iospan,vfio-reset; }; pcie@4010000000`,
      ],
    );
    // Writing an address has the word there incremented.
    const acme: DeviceFactory = ({ dma }) => ({
      read: () => 0xac3e,
      write: (_region, _offset, _width, address) => {
        const word = new Uint8Array(4);
        dma.read(address, word);
        word[0] = (word[0] ?? 0) + 1;
        dma.write(address, word);
      },
    });
    const machine = simulate(source, { devices: { "acme,dma": acme }, drivers: "vfio" });
    await using space = await IoAddressSpace.open(machine, ["0000:00:01.0", "9000000.dma"], { strategy: "mirrored" });
    using memory = space.allocate(4096);
    for (const name of space.interfaces) {
      const frame = space.interface(name).region(0);
      expect(frame.read32(0)).toBe(0xac3e);
      frame.write64(0, memory.iova);
    }
    expect(memory.bytes[0]).toBe(2);
  });
});

const mistakes: Readonly<Record<string, readonly [chip: string, message: RegExp]>> = {
  "no device tree": ["chips/dual-smmu.dts", /line 1, column 1: expected \/dts-v1\//],
  "no SMMU": [
    edited(chipSource("dual-smmu"), ["arm,smmu-v3", "arm,smmu-v2"], ["arm,smmu-v3", "arm,smmu-v2"]),
    /: \/: no enabled node is compatible with arm,smmu-v3/,
  ],
  "a phandle that no node has": [
    edited(chipSource("dual-smmu"), ["<&smmu1 0x42>", "<0x1234 0x42>"]),
    /: \/dma-port@9030000: iommus refers to phandle 0x1234/,
  ],
  "a cyclic alias": [
    board('aliases { serial0 = "serial1"; serial1 = "serial0"; };'),
    /: \/aliases: the alias serial0 leads back to itself/,
  ],
  "memory of size 0": [
    edited(chipSource("dual-smmu"), ["0x40000000 0x1 0x0>", "0x40000000 0x0 0x0>"]),
    /: \/memory@40000000: reg has a bank of size 0/,
  ],
  "memory where registers are": [
    edited(chipSource("dual-smmu"), ["0x40000000 0x1 0x0>", "0x0 0x1 0x0>"]),
    /: its memory|registers|windows/,
  ],
  "iommus with too few cells": [
    edited(chipSource("dual-smmu"), ["<&smmu1 0x42>", "<&smmu1>"]),
    /: \/dma-port@9030000: iommus ends after 0 of the 1 cells/,
  ],
  "a function outside bus-range": [
    edited(chipSource("dual-smmu"), ["reg = <0x10000 ", "reg = <0x20000 "]),
    /: \/pcie@4010000000\/pcie@1,0\/dma@0,0: reg says bus 2/,
  ],
  "a StreamID that is too large": [
    edited(chipSource("one-smmu"), ["<17>", "<16>"]),
    /: \/dma-port@9030000: iommus leads to StreamID 0x10042/,
  ],
};

describe("a machine that cannot be", () => {
  it.each(Object.entries(mistakes))("is refused: %s", (_, [chip, message]) => {
    const error = errorOf(() => simulate(chip));
    expect(error.code).toBe("ERR_IOSPAN_DEVICE_TREE");
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
  });

  it.each([
    [{ release: "banana" }, /no simulated Linux "banana"/],
    [{ release: "4.19" }, /no simulated Linux "4.19"/],
    [{ bugs: { mapSkips: "smmu7" } }, /bugs: the machine has no "smmu7"/],
    [{ bugs: { unmapKeepsTlb: "engine" } }, /bugs: the machine has no "engine"/],
    [{ drivers: { "0000:09:00.0": "vfio-pci" } }, /drivers: the machine has no "0000:09:00.0"/],
    [{ drivers: { [FUNCTION]: "vfio-pcl" } }, /drivers: 0000:01:00.0 is on the pci bus, which has no "vfio-pcl"/],
    [{ drivers: { engine: "vfio-platform" } }, /is on the pci bus, which has no "vfio-platform"/],
    [{ drivers: { [PORT]: "vfio-pci" } }, /is on the platform bus, which has no "vfio-pci"/],
    [{ drivers: { [FUNCTION]: "VFIO-PCI" } }, /which has no "VFIO-PCI"/],
    [{ pageSize: 5000 }, /pageSize is 5000/],
    [{ memlock: Number.NaN }, /memlock is NaN/],
    [{ memlock: -1 }, /memlock is -1/],
    [{ maxFds: -1 }, /maxFds is -1/],
    [{ maxFds: Number.POSITIVE_INFINITY }, /maxFds is Infinity/],
    [{ hugepages2M: -1 }, /hugepages2M is -1/],
    [{ hugepages2M: 1.5 }, /hugepages2M is 1.5/],
    [{ hugepages1G: Number.NaN }, /hugepages1G is NaN/],
    [{ hugepages1G: 100 }, /reserve 102400 MiB, and the machine has 4096 MiB/],
    [{ hugepages1G: 4, hugepages2M: 1 }, /reserve 4098 MiB/],
    [{ dmaEntryLimit: -3 }, /dmaEntryLimit is -3/],
    [{ dmaEntryLimit: 2 ** 32 }, /dmaEntryLimit is 4294967296/],
  ] satisfies readonly (readonly [SimulateOptions, RegExp])[])("is refused with %o", (options, message) => {
    const error = errorOf(() => simulate(chipSource("dual-smmu"), options));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
  });

  it.each([
    { memlock: Number.POSITIVE_INFINITY, hugepages2M: 0, maxFds: 0, dmaEntryLimit: 2 ** 32 - 1 },
    { memlock: 0, hugepages1G: 4, dmaEntryLimit: 0 },
  ])("is none with %o", (options) => {
    expect(simulate(chipSource("dual-smmu"), options).description).toMatchObject(options);
  });

  it("is an IospanError, whatever is changed in a chip", () => {
    const source = chipSource("dual-smmu");
    const numbers = [...source.matchAll(/0x[0-9a-f]+|<\d+>|&\w+/g)].map(({ index, 0: text }) => ({ index, text }));
    const change = fc.tuple(
      fc.constantFrom(...numbers),
      fc.constantFrom("0x0", "0x1", "0xffffffff", "<>", "<1 2>", "&smmu0", "&engine", "&port", "&gic", "0x10000", ""),
    );
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const sorted = changes.toSorted(([a], [b]) => b.index - a.index);
        const text = sorted.reduce(
          (all, [at, put]) => all.slice(0, at.index) + put + all.slice(at.index + at.text.length),
          source,
        );
        try {
          simulate(text);
        } catch (error) {
          if (!(error instanceof IospanError)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("the package's chips", () => {
  it.skipIf(spawnSync("dtc", ["--version"]).status !== 0).each(chipNames)("give dtc nothing to warn of: %s", (name) => {
    const input = readFileSync(new URL(`${chips}/${name}.dts`));
    const { stderr, status } = spawnSync("dtc", ["-I", "dts", "-O", "dtb", "-o", "/dev/null"], {
      input,
      encoding: "utf8",
    });
    expect([stderr, status]).toEqual(["", 0]);
  });
});
