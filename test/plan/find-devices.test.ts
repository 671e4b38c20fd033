import { readFileSync } from "node:fs";
import type { IospanError } from "iospan";
import { describe, expect, it } from "vitest";
import { findPlanned } from "../../src/plan/find-devices.js";
import type { Topology } from "../../src/topology/topology.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { device, iommu, topologyOf } from "./support/made-up.js";

const tree = (path: string) => ({ "device-tree": path });

const live = topologyOf(
  [
    device("0000:01:00.0", "smmu3.0x0"),
    device("0000:0a:00.1", "smmu3.0x0"),
    device("0002:07:00.0", "smmu3.0x0"),
    device("a0000000.dma-port", "smmu3.0x0", {
      paths: { sysfs: "/sys/bus/platform/devices/a0000000.dma-port", ...tree("/soc/dma-port@a0000000") },
    }),
    device("b0000000.usb", "smmu3.0x0", { paths: tree("/soc/usb@b0000000") }),
    device("c0000000.usb", "smmu3.0x0", { paths: tree("/soc/usb@c0000000") }),
    device("\\_SB_.DEV0", "smmu3.0x0"),
  ],
  [iommu("smmu3.0x0", "arm,smmu-v3", { paths: tree("/soc/iommu@0"), device: "0.iommu" })],
  { aliases: new Map([["dma0", "/soc/dma-port@a0000000"]]) },
);

function failure(topology: Topology, asked: string): IospanError {
  try {
    findPlanned(topology, asked);
  } catch (error) {
    return error as IospanError;
  }
  throw new Error(`${asked} was found`);
}

describe("a device is found by", () => {
  it.each([
    ["0000:01:00.0", "0000:01:00.0"],
    ["01:00.0", "0000:01:00.0"],
    ["0A:00.1", "0000:0a:00.1"],
    ["0000:0A:00.1", "0000:0a:00.1"],
    ["07:00.0", "0002:07:00.0"],
    ["/sys/bus/pci/devices/0000:01:00.0", "0000:01:00.0"],
    ["/sys/bus/pci/devices/0000:01:00.0/", "0000:01:00.0"],
    ["/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0", "0000:01:00.0"],
    ["/sys/bus/platform/devices/a0000000.dma-port/", "a0000000.dma-port"],
    ["/sys/devices/platform/soc/a0000000.dma-port", "a0000000.dma-port"],
    ["a0000000.dma-port", "a0000000.dma-port"],
    ["A0000000.DMA-PORT", "a0000000.dma-port"],
    ["dma-port@a0000000", "a0000000.dma-port"],
    ["dma-port", "a0000000.dma-port"],
    ["/soc/dma-port@a0000000", "a0000000.dma-port"],
    ["/proc/device-tree/soc/dma-port@a0000000", "a0000000.dma-port"],
    ["/sys/firmware/devicetree/base/soc/dma-port@a0000000/", "a0000000.dma-port"],
    ["dma0", "a0000000.dma-port"],
    ["&dma0", "a0000000.dma-port"],
    ["usb@c0000000", "c0000000.usb"],
    ["dev0", "\\_SB_.DEV0"],
  ])("%s", (asked, name) => {
    expect(findPlanned(live, asked).name).toBe(name);
  });
});

describe("what is not found says", () => {
  it("which devices it may be any of", () => {
    const { code, message, hint } = failure(live, "usb");
    expect(code).toBe("ERR_IOSPAN_NO_DEVICE");
    expect(message).toBe("usb may be any of 2 devices");
    expect(hint).toContain("b0000000.usb (/soc/usb@b0000000), c0000000.usb (/soc/usb@c0000000)");
  });

  it.each([
    ["0000:01:00.1", "0000:01:00.0"],
    ["dma-prt", "dma-port"],
    ["a0000000.dmaport", "a0000000.dma-port"],
  ])("for %s that it may be %s", (asked, meant) => {
    expect(failure(live, asked).message).toMatch(new RegExp(`did you mean .*${meant}`));
  });

  it.each(["smmu3.0x0", "/soc/iommu@0", "iommu@0", "0.iommu", "/sys/class/iommu/smmu3.0x0"])(
    "that %s is an IOMMU, and what is behind it",
    (asked) => {
      const { message, hint, iommu: name } = failure(live, asked);
      expect(message).toBe(`${asked} is an IOMMU, and a plan is for devices behind one`);
      expect(hint).toContain("behind it are 0000:01:00.0, ");
      expect(hint).toContain("and 1 more");
      expect(name).toBe("smmu3.0x0");
    },
  );

  it("that a node of the device tree is behind no IOMMU", () => {
    const tree = topologyOfDeviceTree(
      `/dts-v1/; / { #address-cells = <1>; #size-cells = <1>; compatible = "acme,board";
        aliases { bus0 = "/i2c@1000"; };
        i2c@1000 { compatible = "acme,i2c"; reg = <0x1000 0x100>; };
        spi@2000 { compatible = "acme,spi"; reg = <0x2000 0x100>; };
        spi@3000 { compatible = "acme,spi"; reg = <0x3000 0x100>; };
        notes { };
        smmu: iommu@4000 { compatible = "arm,smmu-v3"; reg = <0x4000 0x1000>; #iommu-cells = <1>; };
        dma@5000 { compatible = "acme,dma"; reg = <0x5000 0x100>; iommus = <&smmu 1>; };
      };`,
      "board.dts",
    );
    for (const asked of ["i2c@1000", "/i2c@1000", "1000.i2c", "I2C@1000", "i2c", "bus0"]) {
      const { code, message, hint } = failure(tree, asked);
      expect([code, message]).toEqual(["ERR_IOSPAN_NO_DEVICE", `${asked} is behind no IOMMU`]);
      expect(hint).toContain("/i2c@1000");
    }
    expect(failure(tree, "spi").message).toBe("spi may be any of 2 devices, and each is behind no IOMMU");
    expect(failure(tree, "i2c@1001").message).toContain("did you mean i2c@1000");
    expect(failure(tree, "notes").message).toBe("there is no device notes");
    expect(failure(tree, "notes").hint).toBe("iospan topology -t FILE lists devices and IOMMUs");
    expect(findPlanned(tree, "dma").name).toBe("5000.dma");
  });

  it.each(["", "a\nb", "..", 7, undefined])("that %j names no device", (asked) => {
    expect(failure(live, asked as string).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });
});

describe("a function that firmware does not list", () => {
  const text = readFileSync(new URL("../../chips/two-pcie.dts", import.meta.url), "utf8");
  const topology = topologyOfDeviceTree(text, "two-pcie");

  it("is behind the host of its domain, at the ID that the map gives it", () => {
    const found = ["0000:09:00.0", "0001:09:00.0"].map((name) => findPlanned(topology, name));
    expect(found.map(({ name, bus, links }) => [name, bus, links.length])).toEqual([
      ["0000:09:00.0", "pci", 1],
      ["0001:09:00.0", "pci", 1],
    ]);
    const [first, second] = found;
    expect(first?.links[0]?.ids).toEqual([{ first: 0x900, count: 1 }]);
    expect(first?.links[0]?.iommu).not.toBe(second?.links[0]?.iommu);
  });

  it("is not there where a kernel lists all that are", () => {
    const { devices, iommus, ...rest } = topology;
    const running = { ...rest, devices, iommus, sources: [...rest.sources, { kind: "sysfs" as const, name: "/sys" }] };
    const { code, message } = failure(running, "0000:01:00.1");
    expect(code).toBe("ERR_IOSPAN_NO_DEVICE");
    expect(message).toMatch(/did you mean .*0000:01:00\.0/);
  });

  it("is nobody's where no host has the domain", () => {
    expect(failure(topology, "0007:09:00.0").code).toBe("ERR_IOSPAN_NO_DEVICE");
  });

  it("may be behind any host where they do not say their domain", () => {
    const numberless = topologyOfDeviceTree(text.replaceAll(/linux,pci-domain = <\w+>;/g, ""), "two-pcie");
    const { message, hint } = failure(numberless, "0000:09:00.0");
    expect(message).toContain("any of 2 PCI hosts");
    expect(hint).toContain("/pcie@");
  });
});
