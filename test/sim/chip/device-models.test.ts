import { describe, expect, it } from "vitest";
import { type DeviceFactory, inert } from "../../../src/sim/hw/device-model.js";
import { refused } from "../../devicetree/refused.js";
import { board, chipSource, deviceOf, edited, host, read } from "./board.js";

const idle: DeviceFactory = () => ({ read: () => 0, write: () => {} });

describe("the model of a device", () => {
  it("is one engine behind both interfaces of a chip that ties them", () => {
    const chip = read(chipSource("dual-smmu"));
    expect(deviceOf(chip, "0000:01:00.0").model.pci).toMatchObject({ vendor: 0x1234, device: 0xd9e1 });
    expect(deviceOf(chip, "9030000.dma-port").model.pci).toBeUndefined();
  });

  it.each([
    [
      "iospan,engine = <&pcie>;",
      /\/dma-port@9030000: iospan,engine refers to \/pcie@4010000000, which is not compatible with pci1234,d9e1/,
    ],
    ["iospan,engine = <0x999>;", /\/dma-port@9030000: iospan,engine refers to phandle 0x999, which no node has/],
    ["iospan,engine;", /\/dma-port@9030000: iospan,engine should be one 32-bit cell/],
  ])("is refused with %s", (property, message) => {
    const source = edited(chipSource("dual-smmu"), ["iospan,engine = <&engine>;", property]);
    expect(refused(() => read(source))).toMatch(message);
  });

  it("is an engine with one port at most", () => {
    const second =
      'other@9040000 { compatible = "iospan,dual-path-dma-port"; reg = <0 0x9040000 0 0x1000>; iospan,engine = <&engine>; };';
    const source = edited(chipSource("dual-smmu"), ["\tport: dma-port", `${second} port: dma-port`]);
    expect(refused(() => read(source))).toMatch(/has a port already/);
    const wrong = edited(chipSource("dual-smmu"), ["iospan,dual-path-dma-port", "acme,port"]);
    expect(refused(() => read(wrong))).toMatch(/iospan,engine belongs to nodes that are compatible with/);
  });

  it("is the user's where it is compatible with what he has, on PCI and on the chip's own bus", () => {
    const source = edited(
      host(
        'a@1,0 { reg = <0x800 0 0 0 0>, <0x02000810 0 0 0 0x1000>; compatible = "pci1234,11e8", "acme,dma"; iospan,msi-vectors = <2>; };',
      ),
      [
        "pcie@4010000000",
        'dma@9000000 { compatible = "acme,v2", "acme,dma"; reg = <0 0x9000000 0 0x1000>; }; pcie@4010000000',
      ],
    );
    // Without a model of the user's, edu's own BARs are in the way.
    expect(refused(() => read(source))).toMatch(/brings its own/);
    const chip = read(source, { "acme,dma": idle, "pci1234,11e8": idle });
    expect(deviceOf(chip, "0000:00:01.0").model.pci).toMatchObject({
      msiVectors: 2,
      bars: [{ index: 0, size: 0x1000 }],
    });
    expect(deviceOf(chip, "9000000.dma").model).toBeDefined();
    const kind = inert({ vendor: 1, device: 2, classCode: 3, bars: [{ index: 1, size: 64 }] });
    const identity = deviceOf(read(chipSource("two-pcie"), { "pci1234,11e8": kind }), "0000:02:00.0").model.pci;
    expect(identity).toMatchObject({ vendor: 0x1234, classCode: 3, bars: [{ index: 1, size: 64 }] });
  });

  it("does not come out of Object's prototype", () => {
    const odd = 'a@9000000 { compatible = "constructor", "toString"; reg = <0 0x9000000 0 0x1000>; };';
    expect(read(board(odd)).devices).toEqual([]);
  });
});
