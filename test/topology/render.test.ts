import { describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { simulate } from "../../src/sim/simulate.js";
import { mergeTopologies } from "../../src/topology/merge.js";
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
  it("shows the example chip: one device with a PCIe and a platform interface, two SMMUs, memory", () => {
    const text = topologyToMermaid(chip);
    expect(text).toMatch(/^---\ntitle: "dual-smmu\.dts"\n---\nflowchart LR\n/);
    expect(text.match(/\{\{"smmu3\.0x[0-9a-f]+<br>Arm SMMUv3"\}\}/g)).toHaveLength(2);
    const [, inside = ""] =
      /subgraph engine0\["dma@0,0: one device, 2 interfaces"\]\n([\s\S]*?)\n {2}end/.exec(text) ?? [];
    const [, fn] = /(device\d+)\["0000:01:00\.0<br>PCIe interface, 1234:d9e1"\]/.exec(inside) ?? [];
    const [, port] = /(device\d+)\["9030000\.dma-port<br>platform interface"\]/.exec(inside) ?? [];
    const [, host] = /(device\d+)>"4010000000\.pcie<br>PCIe root complex"\]/.exec(text) ?? [];
    for (const line of [
      `${fn} -->|"StreamID 0x100"| ${host}`,
      `${host} -->|"StreamIDs 0x0 to 0xffff"| iommu0`,
      `${port} -->|"StreamID 0x42"| iommu1`,
      "iommu0 --> memory",
      "iommu1 --> memory",
    ]) {
      expect(text).toContain(`  ${line}\n`);
    }
    expect(text).toContain('memory[("memory<br>4 GiB")]');
    expect(text).not.toContain("0000:00:01.0");
  });

  it("adds what a kernel knows: drivers and groups", () => {
    const kernel = topologyOfSysfs(simulate(readChip("dual-smmu").content));
    const text = topologyToMermaid(mergeTopologies([kernel, chip]));
    expect(text).toContain('["0000:01:00.0<br>PCIe interface, 1234:d9e1<br>no driver, group 1"]');
    expect(text).toContain('["9030000.dma-port<br>platform interface<br>no driver, group 2"]');
  });

  it("draws the host of PCI functions where only the kernel tells of it, and all on it go one way", () => {
    const simulated = topologyOfSysfs(simulate(readChip("dual-smmu").content));
    const kernel = { ...simulated, devices: simulated.devices.map((each) => ({ ...each, host: "4010000000.pcie" })) };
    const port = kernel.devices.find(({ name }) => name === "9030000.dma-port")!;
    const host = { ...port, path: "host", paths: { sysfs: "host" }, name: "4010000000.pcie", group: null, links: [] };
    const text = topologyToMermaid({ ...kernel, devices: [...kernel.devices, host] });
    const [, id] = /(device\d+)>"4010000000\.pcie/.exec(text) ?? [];
    expect(text).toContain(`  ${id} --> iommu0\n`);
    expect(text).toMatch(new RegExp(`^ {2}device\\d+ --> ${id}$`, "m"));
    const fn = kernel.devices.find(({ name }) => name === "0000:01:00.0")!;
    const other = { ...fn, path: "other", name: "0000:01:00.1", group: 9, links: port.links };
    const forked = topologyToMermaid({ ...kernel, devices: [...kernel.devices, host, other] });
    expect(forked).not.toContain("4010000000.pcie");
  });

  it("draws what is off or unused broken, and groups of several as boxes", () => {
    const off = topologyOfDeviceTree(`/dts-v1/; / { a: i { #iommu-cells = <0>; status = "disabled"; };
      d { compatible = "x"; iommus = <&a>; }; };`);
    expect(topologyToMermaid(off)).toContain("device0 -.-> iommu0");
    expect(topologyToMermaid(off)).toContain("class iommu0 off");
    const grouped = { ...machine, devices: machine.devices.map((each) => ({ ...each, group: 1 })) };
    expect(topologyToMermaid(grouped)).toContain('subgraph group1["group 1"]');
  });

  it("draws the groups of an engine in it, and no engine where a group is not its alone", () => {
    const kernel = mergeTopologies([topologyOfSysfs(simulate(readChip("dual-smmu").content)), chip]);
    const regrouped = (members: readonly string[]): string =>
      topologyToMermaid({
        ...kernel,
        devices: kernel.devices.map((each) => (members.includes(each.name) ? { ...each, group: 7 } : each)),
      });
    const own = regrouped(["0000:01:00.0", "9030000.dma-port"]);
    expect(own).toMatch(/subgraph engine0\[.*\n {4}subgraph group7\["group 7"\]\n(.*\n){2} {4}end\n {2}end/);
    // In the group of the PCIe function, and no bridge.
    const other = { ...kernel.devices[0]!, path: "x", paths: {}, name: "0000:01:00.1", group: 1, compatible: [] };
    const devices = [...kernel.devices, { ...other, pci: undefined }];
    const torn = topologyToMermaid({ ...kernel, devices });
    expect(torn).not.toContain("subgraph engine0");
    expect(torn).toContain("PCIe interface of dma@0,0");
  });

  it("lets no name out of its quotes", () => {
    const evil: Topology = { ...chip, devices: chip.devices.map((each) => ({ ...each, name: 'a"]<b>#\n\\"' })) };
    for (const line of topologyToMermaid(evil).split("\n")) expect(line.match(/"/g)?.length ?? 0).toBeLessThan(3);
    expect(topologyToDot(evil)).toContain("label=<<b>a&#34;]&#60;b&#62;#\ufffd\\&#34;</b>");
  });
});

describe("a picture of a large machine", () => {
  const links = [{ iommu: chip.iommus[0]!.path, ids: [], used: true, via: "sysfs" }];
  const [first] = chip.devices;
  const large: Topology = {
    ...chip,
    engines: [],
    devices: Array.from({ length: 300 }, (_, index) => ({
      ...first!,
      path: `d${index}`,
      name: `dev${index}`,
      isBus: false,
      group: index,
      driver: index < 200 ? "nvme" : index < 299 ? null : "odd",
      links: index === 0 ? [] : links,
      domain: undefined,
    })),
  };

  it("takes long lists together by driver, and leaves out what is behind no IOMMU", () => {
    const text = topologyToDot(large);
    expect(text.match(/class="device"/g)).toHaveLength(3);
    expect(text).toContain("<b>199 platform devices</b>");
    expect(text).toContain("and 196 more");
    expect(text).toContain("1 IOMMU, 1 behind no IOMMU".replace("1 IOMMU, ", "not shown: 1 IOMMU, "));
    expect(text).not.toContain("dev0<");
  });

  it("draws each where all is wanted", () => {
    expect(topologyToDot(large, { all: true }).match(/class="device"/g)).toHaveLength(299);
  });

  it("takes many drivers with few devices each together, too", () => {
    const devices = large.devices.map((device, index) => ({ ...device, driver: `driver${index >> 1}` }));
    const text = topologyToDot({ ...large, devices });
    expect(text.match(/class="device"/g)!.length).toBeLessThanOrEqual(6);
    expect(text).toMatch(/\d+ drivers/);
  });
});

describe("DOT", () => {
  it("has a node for each thing and an edge for each way", () => {
    const text = topologyToDot(chip);
    expect(text).toMatch(/^digraph "dual-smmu\.dts" \{\n[\s\S]*\}\n$/);
    expect(text.match(/class="iommu"/g)).toHaveLength(2);
    expect(text.match(/class="interface"/g)).toHaveLength(2);
    expect(text.match(/ -> memory;/g)).toHaveLength(2);
    expect(text).toContain('[label=" StreamID 0x42 "]');
    expect(text).toContain("2 IOMMUs, 4 devices; not shown: 1 bridge");
  });

  it("shows bridges and idle IOMMUs only where all is wanted", () => {
    const idle: Topology = { ...chip, devices: chip.devices.filter(({ name }) => !name.includes("dma-port")) };
    expect(topologyToDot(idle).match(/class="iommu"/g)).toHaveLength(1);
    expect(topologyToDot(idle, { all: true }).match(/class="iommu"/g)).toHaveLength(2);
    expect(topologyToDot(chip, { all: true })).toContain("<b>0000:00:01.0</b>");
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
    expect(value.devices.find(({ name }: { name: string }) => name === "9030000.dma-port").coherent).toBe(true);
    const aliases = { aliases: new Map([["dma0", "/dma-port@9030000"]]) };
    expect(topologyToJson({ ...chip, ...aliases })).toMatchObject({ aliases: { dma0: "/dma-port@9030000" } });
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

  it("knows groups and buses", () => {
    const [{ group = null } = { group: null }] = machine.devices.filter((each) => typeof each.group === "number");
    const one = selectTopology(machine, { group: group as number });
    expect(one.devices.length).toBeGreaterThan(0);
    expect(one.devices.every((each) => each.group === group)).toBe(true);
    expect(selectTopology(machine, { group: "none" }).devices.every((each) => each.group === null)).toBe(true);
    expect(names(selectTopology(chip, { group: "none" }))).toEqual([]);
    expect(names(selectTopology(chip, { bus: "pci" }))).toEqual(["0000:00:01.0", "0000:01:00.0"]);
  });

  it("takes all conditions together, and may keep nothing", () => {
    expect(names(selectTopology(chip, { iommu: "c000000", device: "dma-port" }))).toEqual([]);
    expect(selectTopology(chip, { device: "nothing like it" })).toMatchObject({ iommus: [], devices: [], engines: [] });
    expect(selectTopology(chip, {})).toBe(chip);
  });
});
