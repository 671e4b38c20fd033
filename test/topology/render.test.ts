import { describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { topologyToDot } from "../../src/topology/render/dot.js";
import { topologyToJson } from "../../src/topology/render/json.js";
import { topologyToMermaid } from "../../src/topology/render/mermaid.js";
import { selectTopology } from "../../src/topology/select.js";
import { topologyOfSysfs } from "../../src/topology/sysfs/topology-of-sysfs.js";
import type { Topology } from "../../src/topology/topology.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";

const chip = topologyOfDeviceTree(readChip("dual-smmu").content, "dual-smmu.dts");
const machine = topologyOfSysfs({ syscalls: machineOne() });

describe("Mermaid", () => {
  it("shows the example chip: two SMMUs, a PCIe and a platform interface, one engine", () => {
    const text = topologyToMermaid(chip);
    expect(text).toMatch(/^flowchart LR\n/);
    expect(text.match(/\(\["smmu3\.0x[0-9a-f]+<br>arm,smmu-v3"\]\)/g)).toHaveLength(2);
    expect(text).toContain('engine0{{"dma@0,0<br>one device"}}');
    const [, fn] = /(device\d+)\["0000:01:00\.0<br>PCIe"\]/.exec(text) ?? [];
    const [, port] = /(device\d+)\["9030000\.dma-port<br>platform"\]/.exec(text) ?? [];
    for (const line of [
      `engine0 --> ${fn}`,
      `engine0 --> ${port}`,
      `${fn} -->|"0x100"| iommu0`,
      `${port} -->|"0x42"| iommu1`,
    ]) {
      expect(text).toContain(`  ${line}\n`);
    }
  });

  it("draws what is off or unused broken, and groups of several as boxes", () => {
    const off = topologyOfDeviceTree(`/dts-v1/; / { a: i { #iommu-cells = <0>; status = "disabled"; };
      d { compatible = "x"; iommus = <&a>; }; };`);
    expect(topologyToMermaid(off)).toContain("device0 -.-> iommu0");
    expect(topologyToMermaid(off)).toContain("class iommu0 off");
    const grouped = { ...machine, devices: machine.devices.map((each) => ({ ...each, group: 1 })) };
    expect(topologyToMermaid(grouped)).toContain('subgraph group1["group 1"]');
  });

  it("lets no name out of its quotes", () => {
    const evil: Topology = { ...chip, devices: chip.devices.map((each) => ({ ...each, name: 'a"]<b>#\n\\"' })) };
    for (const line of topologyToMermaid(evil).split("\n")) expect(line.match(/"/g)?.length ?? 0).toBeLessThan(3);
    expect(topologyToDot(evil)).toContain(String.raw`label="a\"]<b>#\n\\\"\n`);
  });
});

describe("DOT", () => {
  it("has a node for each thing and an edge for each way", () => {
    const text = topologyToDot(chip);
    expect(text).toMatch(/^digraph topology \{\n[\s\S]*\}\n$/);
    expect(text.match(/shape=ellipse/g)).toHaveLength(2);
    expect(text.match(/ -> memory;/g)).toHaveLength(2);
    expect(text).toContain('[label="0x42"]');
  });
});

describe("JSON", () => {
  it("writes addresses as hexadecimal text and says what is unknown", () => {
    const value = JSON.parse(JSON.stringify(topologyToJson(chip)));
    expect(value.iommus[0].addresses).toEqual(["0xc000000"]);
    expect(value.memory).toEqual([{ start: "0x40000000", size: "0x100000000" }]);
    expect(value.devices.find(({ name }: { name: string }) => name === "9030000.dma-port").unknown).toEqual([
      "driver",
      "group",
    ]);
    const live = JSON.parse(JSON.stringify(topologyToJson(machine)));
    expect(live.memory).toBe("unknown");
    expect(live.devices.every(({ unknown }: { unknown: string[] }) => !unknown.includes("driver"))).toBe(true);
  });
});

describe("a selection", () => {
  const names = ({ devices }: Topology) => devices.map(({ name }) => name);

  it("keeps what is wanted, with its IOMMUs and groups", () => {
    const vfio = selectTopology(machine, { driver: "vfio-pci" });
    expect(vfio.devices.length).toBeGreaterThan(0);
    expect(vfio.devices.every(({ driver }) => driver === "vfio-pci")).toBe(true);
    expect(vfio.groups.map(({ number }) => number).sort()).toEqual(vfio.devices.map(({ group }) => group).sort());
    expect(names(selectTopology(chip, { iommu: "C020000" }))).toEqual(["9030000.dma-port"]);
    expect(selectTopology(chip, { iommu: "c020000" }).iommus).toHaveLength(1);
    expect(names(selectTopology(chip, { device: "dual-path" }))).toEqual(["9030000.dma-port"]);
    expect(selectTopology(machine, { driver: "none" }).devices.every(({ driver }) => driver === null)).toBe(true);
  });

  it("takes all conditions together, and may keep nothing", () => {
    expect(names(selectTopology(chip, { iommu: "c000000", device: "dma-port" }))).toEqual([]);
    expect(selectTopology(chip, { device: "nothing like it" })).toMatchObject({ iommus: [], devices: [], engines: [] });
    expect(selectTopology(chip, {})).toBe(chip);
  });
});
