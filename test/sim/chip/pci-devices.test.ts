import { describe, expect, it } from "vitest";
import type { PciDescription } from "../../../src/sim/linux/description.js";
import { simulate } from "../../../src/sim/simulate.js";
import { refused } from "../../devicetree/refused.js";
import { BRIDGE, board, chipSource, deviceOf, edited, host, read } from "./board.js";

const ids = 'compatible = "pci1af4,1000";';
const names = (source: string) => read(source).devices.map(({ description }) => description.name);
const only = (source: string) => read(source).devices[0]?.description as PciDescription;

describe("the PCI functions of a chip", () => {
  it("have numbers as Linux enumerates them", () => {
    const functions = `
      b: pcie@3,0 { reg = <0x1800 0 0 0 0>; ${BRIDGE} x@0 { reg = <0 0 0 0 0>; ${ids} }; };
      a@1,1 { reg = <0x0900 0 0 0 0>; ${ids} };
      pcie@1,0 { reg = <0x0800 0 0 0 0>; ${BRIDGE}
        pcie@2,0 { reg = <0x1000 0 0 0 0>; ${BRIDGE} y@0 { reg = <0 0 0 0 0>; ${ids} }; };
        z@1f,7 { reg = <0xff00 0 0 0 0>; ${ids} }; };
      off@4,0 { reg = <0x2000 0 0 0 0>; status = "disabled"; };
      intc { interrupt-controller; };`;
    expect(names(host(functions))).toEqual([
      "0000:00:01.0",
      "0000:01:02.0",
      "0000:02:00.0",
      "0000:01:1f.7",
      "0000:00:01.1",
      "0000:00:03.0",
      "0000:03:00.0",
    ]);
    const inner = deviceOf(read(host(functions)), "0000:02:00.0");
    expect(inner).toMatchObject({ behind: ["0000:00:01.0", "0000:01:02.0"], streamId: 0x200 });
  });

  it("are virtual functions of those that they name", () => {
    const physical = `pf: a@1,0 { reg = <0x0800 0 0 0 0>; ${ids} };`;
    const virtual = (properties: string) => `${physical} vf: b@1,1 { reg = <0x0900 0 0 0 0>; ${ids} ${properties} };`;
    const chip = read(host(virtual("iospan,physical-function = <&pf>;")));
    expect(deviceOf(chip, "0000:00:01.1")).toMatchObject({ physicalFunction: "0000:00:01.0" });
    expect(deviceOf(chip, "0000:00:01.0")).not.toHaveProperty("physicalFunction");
    for (const other of ["&vf", "&smmu", "&gic"]) {
      const message = refused(() => read(host(virtual(`iospan,physical-function = <${other}>;`))));
      expect(message).toContain("no physical function behind the same host");
    }
  });

  it("have the numbers that firmware gave to their buses", () => {
    const functions = `
      pcie@1,0 { reg = <0x200800 0 0 0 0>; bus-range = <0x25 0x2f>; ${BRIDGE}
        a@0 { reg = <0x250000 0 0 0 0>; ${ids} };
        pcie@1,0 { reg = <0x250800 0 0 0 0>; ${BRIDGE} b@0 { reg = <0 0 0 0 0>; ${ids} }; }; };
      pcie@2,0 { reg = <0x201000 0 0 0 0>; ${BRIDGE} c@0 { reg = <0x300000 0 0 0 0>; ${ids} }; };`;
    const source = host(functions, "bus-range = <0x20 0x3f>; linux,pci-domain = <2>;");
    expect(names(source)).toEqual([
      "0002:20:01.0",
      "0002:25:00.0",
      "0002:25:01.0",
      "0002:26:00.0",
      "0002:20:02.0",
      "0002:30:00.0",
    ]);
  });

  it("have domains by property or by order", () => {
    const second = (properties: string) =>
      edited(
        chipSource("two-pcie"),
        ["linux,pci-domain = <0>;", properties],
        ["linux,pci-domain = <1>;", properties && "linux,pci-domain = <0x1f>;"],
      );
    expect(names(second("linux,pci-domain = <7>;"))).toContain("001f:02:00.0");
    expect(names(second("linux,pci-domain = <7>;"))).toContain("0007:02:00.0");
    expect(names(second(""))).toEqual(names(chipSource("two-pcie")));
  });

  it("have StreamIDs through the host's map", () => {
    const fn = `a@1,2 { reg = <0x0a00 0 0 0 0>; ${ids} };`;
    expect(only(host(fn))).toMatchObject({ iommu: "smmu3.0x000000000c000000", streamId: 0xa });
    expect(only(host(fn, "iommu-map = <0 &smmu 0x1000 0x10000>; iommu-map-mask = <0xfff8>;")).streamId).toBe(0x1008);
    expect(only(host(fn, "iommu-map = <0x100 &smmu 0x100 0x100>;"))).not.toHaveProperty("iommu");
    expect(only(host(fn, ""))).not.toHaveProperty("iommu");
  });

  it("have isolated messages if the host's map or parent leads to an ITS", () => {
    const fn = `a@1,0 { reg = <0x800 0 0 0 0>; ${ids} };`;
    expect(only(host(fn)).msiIsolated).toBe(false);
    expect(only(host(fn, "msi-map = <0 &its 0 0x10000>;")).msiIsolated).toBe(true);
    expect(only(host(fn, "msi-map = <0x100 &its 0 0x100>;")).msiIsolated).toBe(false);
    expect(only(host(fn, "msi-parent = <&its 0>;")).msiIsolated).toBe(true);
  });

  it("are what compatible or the properties of the PCI binding say", () => {
    const identity = (properties: string) => only(host(`a@1,0 { reg = <0x800 0 0 0 0>; ${properties} };`)).model.pci;
    expect(identity('compatible = "pci144d,a80a.1028.2000.3", "pciclass,010802";')).toEqual({
      vendor: 0x144d,
      device: 0xa80a,
      subsystemVendor: 0x1028,
      subsystem: 0x2000,
      revision: 3,
      classCode: 0x010802,
    });
    expect(identity('compatible = "pci1,2", "pciclass,0108";')).toMatchObject({
      vendor: 1,
      device: 2,
      classCode: 0x010800,
    });
    expect(
      identity(`vendor-id = <0x10de>; device-id = <0x2330>; class-code = <0x030200>; revision-id = <0xa1>;
        subsystem-vendor-id = <1>; subsystem-id = <2>; interrupts = <1>; iospan,msi-vectors = <4>;`),
    ).toEqual({
      vendor: 0x10de,
      device: 0x2330,
      classCode: 0x030200,
      revision: 0xa1,
      subsystemVendor: 1,
      subsystem: 2,
      intx: true,
      msiVectors: 4,
    });
    // What is known of a simulated device need not be said.
    expect(identity('compatible = "pci1234,11e8"; revision-id = <0x11>;')).toMatchObject({
      vendor: 0x1234,
      bars: [{ index: 0, size: 2 ** 20 }],
      revision: 0x11,
    });
  });

  it("have their BARs in the host's window", () => {
    const machine = simulate(chipSource("two-pcie"));
    const bar = (name: string) => machine.syscalls.readFile(`/sys/bus/pci/devices/${name}/resource`).slice(0, 18);
    expect(bar("0000:02:00.0")).toBe("0x0000000010000000");
    expect(bar("0000:01:00.0")).toBe("0x0000000010100000");
    expect(bar("0001:02:00.0")).toBe("0x0000000018000000");
    expect(bar("0001:01:00.0")).toBe("0x0000000018100000");
  });

  const withBars = (ranges: string, ...sizes: readonly number[]) => {
    const rows = sizes.map((size, index) => `<0x${(0x02000810 + 4 * index).toString(16)} 0 0 0 ${size}>`);
    const fn = `a@1,0 { reg = ${["<0x800 0 0 0 0>", ...rows].join(", ")}; ${ids} };`;
    return edited(host(fn), ["ranges = <0x02000000 0 0x10000000 0 0x10000000 0 0x1000000>;", ranges]);
  };
  const addresses = (source: string) => [...(only(source).barAddresses ?? [])].toSorted(([a], [b]) => a - b);
  const io = "0x01000000 0 0 0 0x20000000 0 0x10000";
  const high = "0x43000000 0x80 0 0x80 0 1 0";

  it("have their BARs in the windows below 4 GiB, without losing room to alignment", () => {
    const odd = `ranges = <${io} ${high} 0x02000000 0 0x10000800 0 0x10000800 0 0x1800 0x02000000 0 0x18000000 0 0x18000000 0 0x1000>;`;
    const source = withBars(odd, 0x800, 0x1000, 0x1000);
    expect(addresses(source)).toEqual([
      [0, 0x1000_0800],
      [1, 0x1000_1000],
      [2, 0x1800_0000],
    ]);
    const resources = simulate(source).syscalls.readFile("/sys/bus/pci/devices/0000:00:01.0/resource").split("\n");
    expect(resources.slice(0, 3).map((line) => Number(line.split(" ")[0]))).toEqual([
      0x1000_0800, 0x1000_1000, 0x1800_0000,
    ]);
    const last = withBars("ranges = <0x02000000 0 0xfffff000 0 0xfffff000 0 0x2000>;", 0x1000);
    expect(addresses(last)).toEqual([[0, 0xffff_f000]]);
  });

  it.each([
    ["no window", "", [0x1000], /BAR 0 of 0000:00:01.0, 0x1000 bytes, .* below 4 GiB \(ranges\): it has none/],
    ["a window of I/O alone", `ranges = <${io}>;`, [0x1000], /it has none/],
    ["windows above 4 GiB alone", `ranges = <${high}>;`, [0x1000], /it has none/],
    [
      "a small window",
      "ranges = <0x02000000 0 0x10000000 0 0x10000000 0 0x800>;",
      [0x1000],
      /in its windows .*: 0x10000000 to 0x10000800/,
    ],
    [
      "a window with room for one",
      "ranges = <0x02000000 0 0x10000000 0 0x10000000 0 0x1800>;",
      [0x1000, 0x1000],
      /BAR 1 of 0000:00:01.0/,
    ],
    [
      "a window that ends above 4 GiB",
      "ranges = <0x02000000 0 0xfffff000 0 0xfffff000 0 0x2000>;",
      [0x1000, 0x1000],
      /BAR 1 of 0000:00:01.0, .*: 0xfffff000 to 0x100000000/,
    ],
  ])("need room for their BARs: %s", (_, ranges, sizes, message) => {
    const problem = refused(() => read(withBars(ranges, ...sizes)));
    expect(problem).toMatch(/^device tree: \/pcie@4010000000: no room for BAR/);
    expect(problem).toMatch(message);
  });

  it("have the BARs in their reg", () => {
    const reg = "<0x800 0 0 0 0>, <0x02000810 0 0 0 0x4000>, <0x03000818 0 0 0 0x100000>";
    expect(only(host(`a@1,0 { reg = ${reg}; ${ids} };`)).model.pci?.bars).toEqual([
      { index: 0, size: 0x4000 },
      { index: 2, size: 0x10_0000 },
    ]);
  });

  it.each([
    ["a function without reg", `a { ${ids} };`, /\/pcie@4010000000\/a: reg is missing/],
    ["an empty reg", `a { reg; ${ids} };`, /a: reg is empty/],
    [
      "a reg in memory",
      `a { reg = <0x02000800 0 0 0 0>; ${ids} };`,
      /a: reg does not begin with an address in configuration/,
    ],
    [
      "a function on a bus outside bus-range",
      `a { reg = <0x20800 0 0 0 0>; ${ids} };`,
      /a: reg says bus 2, and the devices of \/pcie@4010000000 are on bus 0 \(its bus-range\)/,
    ],
    [
      "two functions in one place",
      `a { reg = <0x800 0 0 0 0>; ${ids} }; b { reg = <0x800 0 0 0 0>; ${ids} };`,
      /b: reg is that of \/pcie@4010000000\/a, too/,
    ],
    ["a function that nobody knows", "a { reg = <0x800 0 0 0 0>; };", /a: which vendor's which device/],
    [
      "an ID that is too large",
      "a { reg = <0x800 0 0 0 0>; vendor-id = <0x12345>; device-id = <1>; };",
      /a: vendor of a PCI identity is 74565/,
    ],
    [
      "a BAR that is none",
      `a { reg = <0x800 0 0 0 0>, <0x02000828 0 0 0 16>; ${ids} };`,
      /a: reg has a row for register 0x28, which is no BAR/,
    ],
    [
      "a BAR of an impossible size",
      `a { reg = <0x800 0 0 0 0>, <0x02000810 0 0 0 17>; ${ids} };`,
      /a: a BAR's size of a PCI identity is 17/,
    ],
    [
      "BARs that a model has already",
      `a { reg = <0x800 0 0 0 0>, <0x02000810 0 0 0 16>; compatible = "pci1234,11e8"; };`,
      /a: reg has BARs, and the simulated model/,
    ],
    [
      "iommus",
      `a { reg = <0x800 0 0 0 0>; ${ids} iommus = <&smmu 1>; };`,
      /a: iommus means nothing for a PCI function/,
    ],
    [
      "bus numbers beyond those above",
      `a { reg = <0x800 0 0 0 0>; ${BRIDGE} bus-range = <1 2>; b { reg = <0x10800 0 0 0 0>; ${BRIDGE} bus-range = <2 3>; }; };`,
      /b: bus-range needs buses 2 to 3, and 2 to 2 are left/,
    ],
    [
      "bus numbers that are taken",
      `a { reg = <0x800 0 0 0 0>; ${BRIDGE} }; b { reg = <0x1000 0 0 0 0>; ${BRIDGE} bus-range = <1 1>; };`,
      /b: bus-range needs buses 1 to 1, and 2 to 255 are left/,
    ],
    [
      "a bus-range that is none",
      `a { reg = <0x800 0 0 0 0>; ${BRIDGE} bus-range = <2 1>; };`,
      /a: bus-range should be/,
    ],
    [
      "a bridge whose children have other addresses",
      `a { reg = <0x800 0 0 0 0>; device_type = "pci"; ${ids} #address-cells = <2>; b { reg = <0 0 0>; }; };`,
      /a: #address-cells should be 3/,
    ],
  ])("are refused: %s", (_, functions, message) => {
    expect(refused(() => read(host(functions)))).toMatch(message);
  });

  it.each([
    ["bus-range = <0 300>;", /\/pcie@4010000000: bus-range should be the first and the last/],
    ["iommu-map = <0 &smmu 0x10000 0x10000>;", /\/pcie@4010000000: iommu-map leads to StreamID 0x10008, .* 16 bits/],
    [
      "iommu-map = <0 &wide 0x2000000 0x10000>;",
      /\/pcie@4010000000: iommu-map leads to StreamID 0x2000008, .* covers 25 of the 32 bits of \/iommu@d000000/,
    ],
    ["iommu-map = <0 &smmu 0>;", /iommu-map is no list of rows/],
    ["iommu-map = <0 0x77 0 1>;", /iommu-map is no list of rows/],
    ["iommu-map = <0 &other 0 0x100>;", /\/pcie@4010000000: iommu-map leads to \/other, which is acme,mmu/],
    ["linux,pci-domain = <0x10000>;", /linux,pci-domain is 65536/],
  ])("are refused behind a host with %s", (properties, message) => {
    const source = edited(host(`a@1,0 { reg = <0x800 0 0 0 0>; ${ids} };`, properties), [
      "smmu: iommu",
      'wide: iommu@d000000 { compatible = "arm,smmu-v3"; reg = <0 0xd000000 0 0x20000>; #iommu-cells = <1>; iospan,stream-id-bits = <32>; }; other: other { compatible = "acme,mmu"; #iommu-cells = <1>; }; smmu: iommu',
    ]);
    expect(refused(() => read(source))).toMatch(message);
  });

  it("have a host that is simulated, with room for its configuration space", () => {
    const dwc = edited(host(""), ["pci-host-ecam-generic", "snps,dw-pcie"]);
    expect(refused(() => read(dwc))).toMatch(
      /\/pcie@4010000000: is snps,dw-pcie: only pci-host-ecam-generic is simulated/,
    );
    const small = edited(host(""), ["0x40 0x10000000 0 0x10000000", "0x40 0x10000000 0 0xff00000"]);
    expect(refused(() => read(small))).toMatch(/\/pcie@4010000000: reg should be 0x10000000 bytes/);
    const twice = edited(chipSource("two-pcie"), ["linux,pci-domain = <1>", "linux,pci-domain = <0>"]);
    expect(refused(() => read(twice))).toMatch(
      /\/pcie@4020000000: linux,pci-domain is 0, which is \/pcie@4010000000's already/,
    );
    const over = edited(host(""), ["0x10000000 0 0x1000000>", "0x40000000 0 0x1000000>"]);
    expect(refused(() => read(over))).toMatch(/windows at 0x40000000|windows of \/pcie@4010000000/);
  });

  it("run out of bus numbers", () => {
    const bridges = `a { reg = <0x800 0 0 0 0>; ${BRIDGE} b { reg = <0 0 0 0 0>; ${BRIDGE} }; };`;
    expect(refused(() => read(host(bridges, "bus-range = <0 1>;")))).toMatch(
      /b: device_type needs a bus number, and none is left/,
    );
  });

  it("are none where there is no host", () => {
    expect(names(board(""))).toEqual([]);
  });
});
