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
    expect(bar("0000:01:00.0")).toBe("0x0000000010000000");
    expect(bar("0001:01:00.0")).toBe("0x0000000018000000");
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
    ["iommu-map = <0 &smmu 0>;", /iommu-map is no list of rows/],
    ["iommu-map = <0 0x77 0 1>;", /iommu-map is no list of rows/],
    ["iommu-map = <0 &other 0 0x100>;", /\/pcie@4010000000: iommu-map leads to \/other, which is acme,mmu/],
    ["linux,pci-domain = <0x10000>;", /linux,pci-domain is 65536/],
  ])("are refused behind a host with %s", (properties, message) => {
    const source = edited(host(`a@1,0 { reg = <0x800 0 0 0 0>; ${ids} };`, properties), [
      "smmu: iommu",
      'other: other { compatible = "acme,mmu"; #iommu-cells = <1>; }; smmu: iommu',
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
