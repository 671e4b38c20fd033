import { describe, expect, it } from "vitest";
import type { DeviceFactory } from "../../src/sim/hw/device-model.js";
import { simulate } from "../../src/sim/simulate.js";
import type { SimulateOptions } from "../../src/sim/simulate-options.js";
import { errorOf } from "../support/errors.js";
import { chipSource } from "./chip/board.js";

const source = chipSource("dual-smmu");
const silent: DeviceFactory = () => ({ read: () => 0, write: () => {} });
/** As somebody writes it whom no compiler helps. */
const refusal = (options: object, chip = source) => errorOf(() => simulate(chip, options as SimulateOptions));

describe("what simulate is told and nobody would read", () => {
  it.each([
    ["options: there is no", { memLock: 1 }, "memlock"],
    ["bugs: there is no", { bugs: { staleTlb: "smmu1" } }, "unmapKeepsTlb"],
    ["no device of the chip is compatible with", { devices: { "acme,blitt": silent } }, "`compatible`"],
    ["is not what makes a device", { devices: { "iospan,dual-path-dma-port": silent({} as never) } }, "host"],
    ["is not what makes a device", { devices: { "iospan,dual-path-dma-port": class {} } }, "host"],
    ["made none", { devices: { "iospan,dual-path-dma-port": () => undefined } }, "read(region"],
    ["made none", { devices: { "iospan,dual-path-dma-port": () => ({ write: () => {} }) } }, "read(region"],
  ])("%s …", (message, options, hint) => {
    const error = refusal(options);
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toContain(message);
    expect(error.hint).toContain(hint);
  });

  it("takes the same when it is spelt right", () => {
    const options = {
      memlock: 2 ** 20,
      bugs: { unmapKeepsTlb: "smmu1" },
      devices: { "iospan,dual-path-dma-port": silent },
    };
    expect(simulate(source.replace(/iospan,engine = [^;]*;/, ""), options).interfaces).toHaveLength(2);
  });
});

describe("a property of ours", () => {
  it.each([
    ["iospan,bandwith-kBps", "smmu1: iommu@c020000 {", "/iommu@c020000", "an SMMU"],
    ["iospan,latency-ns", "smmu1: iommu@c020000 {", "/iommu@c020000", "an SMMU"],
    ["iospan,walk-latency-ns", "dma-port@9030000 {", "/dma-port@9030000", "a device"],
    ["iospan,latency-ns", "memory@40000000 {", "/memory@40000000", "a memory node"],
  ])("%s after %j is refused with the node's path", (property, opening, path, kind) => {
    expect(source).toContain(opening);
    const error = refusal({}, source.replace(opening, `${opening} ${property} = <1>;`));
    expect(error.code).toBe("ERR_IOSPAN_DEVICE_TREE");
    expect(error.message).toBe(`device tree: ${path}: ${property} is no property of ${kind}`);
    expect(error.hint).toContain("iospan,");
  });
});
