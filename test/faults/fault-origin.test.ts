import { readFileSync } from "node:fs";
import { IoAddressSpace, simulate } from "iospan";
import { describe, expect, it } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";
import { explainFault } from "../../src/faults/explain-fault.js";
import { blankFault, type IommuFault } from "../../src/faults/fault.js";
import { faultOrigin } from "../../src/faults/fault-origin.js";
import { readFaults } from "../../src/faults/fault-reader.js";
import { mergeTopologies } from "../../src/topology/merge.js";
import { topologyOfSysfs } from "../../src/topology/sysfs/topology-of-sysfs.js";
import { type IommuLink, type Topology, type TopologyDevice, topologyDevice } from "../../src/topology/topology.js";
import { topologyOfAcpi } from "../../src/topology/topology-of-acpi.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { iortTable } from "../topology/support/iort-table.js";
import { encodeEvent, rawLines } from "./support/event-log.js";

const chip = readFileSync(packageFile("chips/dual-smmu.dts"));
const tree = (source: Uint8Array | string = chip) => topologyOfDeviceTree(source, "chip");
const live = () => topologyOfSysfs(simulate(chip, { drivers: "vfio" }));
const FUNCTION = "0000:01:00.0";
const PORT = "9030000.dma-port";

/** A fault as kernels before 6.14 log it: by the StreamID alone. */
const fault = (iommu: string, streamId: number): IommuFault =>
  readFaults(rawLines(encodeEvent({ id: 0x10, streamId, inputAddress: 0x1000n, read: true, class: 2 }), iommu))
    .faults[0]!;
const smmuv2 = (iommu: string, streamId: number): IommuFault =>
  readFaults(
    `arm-smmu ${iommu}: Unhandled context fault: fsr=0x402, iova=0x1000, fsynr=0x1, cbfrsynra=0x${streamId.toString(16)}, cb=0`,
  ).faults[0]!;
const names = (topology: Topology, of: IommuFault) => faultOrigin(of, topology).devices.map(({ name }) => name);

const SMMU = {
  path: "S",
  paths: {},
  name: "smmu3.0x1000",
  compatible: [],
  addresses: [0x1000n],
  enabled: true,
} as const;
const link = (ids: IommuLink["ids"], more: Partial<IommuLink> = {}): IommuLink => ({
  iommu: "S",
  ids,
  used: true,
  via: "sysfs",
  ...more,
});
const device = (name: string, links: readonly IommuLink[], more: Partial<TopologyDevice> = {}) =>
  topologyDevice({ path: name, paths: {}, name, bus: "pci", isBus: false, enabled: true, links, ...more });
const topologyWith = (
  devices: readonly TopologyDevice[],
  iommu: Partial<Topology["iommus"][number]> = {},
): Topology => ({
  sources: [{ kind: "device-tree", name: "x" }],
  iommus: [{ ...SMMU, kind: "arm,smmu-v3", disabledBecause: undefined, device: "1000.iommu", ...iommu }],
  groups: [],
  devices,
  engines: [],
  memory: undefined,
  findings: [],
});

describe("whose a StreamID is", () => {
  it("says the device tree, at the IOMMU that the log names", () => {
    expect(names(tree(), fault("c020000.iommu", 0x42))).toEqual([PORT]);
    expect(names(tree(), fault("c000000.iommu", 0x100))).toEqual([FUNCTION]);
    expect(faultOrigin(fault("c000000.iommu", 0x42), tree()).devices.map(({ name }) => name)).not.toContain(PORT);
  });

  it("says the kernel with the tree: with driver and group", () => {
    const origin = faultOrigin(fault("c020000.iommu", 0x42), mergeTopologies([live(), tree()]));
    expect(origin).toMatchObject({ iommu: "smmu3.0x000000000c020000", from: "ids" });
    expect(origin.devices).toMatchObject([{ name: PORT, driver: "vfio-platform", group: 2 }]);
    expect(origin.text).toBe(`${PORT} (driver vfio-platform, group 2)`);
  });

  it("may be nobody's, or that of a function which is not there", () => {
    const merged = mergeTopologies([live(), tree()]);
    expect(faultOrigin(fault("c020000.iommu", 0x43), merged)).toMatchObject({
      from: "ids",
      devices: [],
      text: "no device has this StreamID",
    });
    expect(faultOrigin(fault("c000000.iommu", 0x208), merged)).toMatchObject({
      from: "ids",
      devices: [],
      text: "no device has this StreamID: it would be that of 0000:02:01.0, which is not there",
    });
    // A tree does not list functions, so that one may well be there.
    expect(names(tree(), fault("c000000.iommu", 0x208))).toEqual(["0000:02:01.0"]);
    expect(explainFault(fault("c000000.iommu", 0x208), undefined, merged).summary).toMatch(/^StreamID 0x208 read/);
  });

  it("cannot be told by sysfs alone, but for a PCI function that is behind the IOMMU and has that ID itself", () => {
    const known = live();
    const function1 = faultOrigin(fault("c000000.iommu", 0x100), known);
    expect(function1).toMatchObject({ from: "requester-id", devices: [{ name: FUNCTION }] });
    expect(function1.text).toContain("if 0x100 is its requester ID: no source tells StreamIDs");
    expect(faultOrigin(fault("c020000.iommu", 0x100), known)).toMatchObject({ from: "unknown", devices: [] });
    expect(faultOrigin(fault("c020000.iommu", 0x42), known).text).toContain("no source tells StreamIDs");
    const { summary } = explainFault(fault("c000000.iommu", 0x100), undefined, known);
    expect(summary).toContain(`StreamID 0x100 (${FUNCTION}, if that is its PCI address)`);
  });

  it("is told of a device that the log names: its driver and its group", () => {
    const said = { ...fault("c020000.iommu", 0x42), device: { name: PORT, from: "log" } as const };
    const merged = mergeTopologies([live(), tree()]);
    expect(faultOrigin(said, merged)).toMatchObject({ from: "log", devices: [{ name: PORT, group: 2 }] });
    const other = { ...said, device: { name: "a.b", from: "log" } as const };
    expect(faultOrigin(other, merged)).toMatchObject({ devices: [], text: "a.b, which no source has" });
  });

  it("is not told for an IOMMU that no source has, of which there are others", () => {
    const { text } = faultOrigin(fault("arm-smmu-v3.1.auto", 0x7777_7777), tree());
    expect(text).toMatch(
      /^no source has an IOMMU arm-smmu-v3\.1\.auto; there are smmu3\.0x0*c000000, smmu3\.0x0*c020000/,
    );
    expect(text).toMatch(/, and StreamID 0x77777777 is nobody's at any of them$/);
    const two = faultOrigin(fault("arm-smmu-v3.1.auto", 0x42), tree());
    expect([two.iommu, two.devices, two.from]).toEqual([undefined, [], "unknown"]);
    const bare = { ...tree(), iommus: [], devices: [] };
    expect(faultOrigin(fault("dead0000.iommu", 0x42), bare).text).toBe("no source has an IOMMU dead0000.iommu");
  });

  it("is not told for an IOMMU that no source has", () => {
    expect(faultOrigin(fault("dead0000.iommu", 0x42), tree())).toMatchObject({
      iommu: undefined,
      from: "unknown",
      text: expect.stringMatching(
        /^no source has an IOMMU dead0000\.iommu; StreamID 0x42 would be 9030000\.dma-port, if this is smmu3\.0x0*c020000; 0000:00:08\.2, if this is smmu3\.0x0*c000000$/,
      ),
    });
    expect(faultOrigin({ ...fault("c000000.iommu", 0), streamId: undefined }, tree()).text).toContain("no ID");
  });

  it("comes from the IORT, whose SMMUs Linux numbers", () => {
    const smmu = (address: bigint) => ({
      body: { type: "smmu-v3" as const, address, model: 0, flags: 0, ownMapping: undefined },
    });
    const memory = { coherent: true, flags: 3 };
    const map = (input: number, output: number, target: number) => ({
      ...{ input, last: input + 0xfff, output, target, single: false },
    });
    const table = iortTable([
      smmu(0xc000000n),
      { body: { type: "pmcg", address: 0xc010000n, target: 0, page1: undefined } },
      smmu(0xc020000n),
      {
        body: { type: "root-complex", segment: 1, ats: false, memory },
        mappings: [map(0, 0x1_0000, 0), map(0x2000, 0x8_0000, 2)],
      },
    ]);
    const iort = topologyOfAcpi(table, "IORT");
    expect(names(iort, fault("arm-smmu-v3.0.auto", 0x1_0208))).toEqual(["0001:02:01.0"]);
    expect(names(iort, fault("arm-smmu-v3.2.auto", 0x8_0201))).toEqual(["0001:22:00.1"]);
    expect(names(iort, fault("arm-smmu-v3.2.auto", 0x1_0208))).toEqual([]);
    expect(names(iort, fault("c020000.iommu", 0x8_0201))).toEqual([]);
    const { summary } = explainFault(fault("arm-smmu-v3.2.auto", 0x8_0201), undefined, iort);
    expect(summary).toBe("0001:22:00.1 read 0x1000: nothing is mapped there");
    // A topology that does not know the numbers leaves it open which of them it is.
    const blank = { ...iort, iommus: iort.iommus.map((each) => ({ ...each, device: undefined })) };
    const origin = faultOrigin(fault("arm-smmu-v3.2.auto", 0x8_0201), blank);
    expect(origin).toMatchObject({ iommu: undefined, devices: [{ name: "0001:22:00.1" }] });
    expect(origin.text).toContain("which IOMMU arm-smmu-v3.2.auto is, no source tells");
    expect(names(blank, fault("c020000.iommu", 0x8_0201))).toEqual(["0001:22:00.1"]);
  });

  it("is not guessed of a function whose ID is known to be another", () => {
    const known = device("0000:01:00.0", [link([{ first: 0x500, count: 1 }])], { requesterId: 0x100 });
    expect(names(topologyWith([known]), fault("1000.iommu", 0x100))).toEqual([]);
    expect(names(topologyWith([known]), fault("1000.iommu", 0x500))).toEqual(["0000:01:00.0"]);
    const other = topologyWith([known], { device: undefined });
    expect(names(other, fault("1000.iommu", 0x500))).toEqual(["0000:01:00.0"]);
    expect(names(other, fault("2000.iommu", 0x500))).toEqual([]);
  });

  it("may be several devices' at once", () => {
    const both = topologyWith([
      device("0000:03:00.0", [link([{ first: 0x300, count: 1 }])]),
      device("0000:03:00.1", [link([{ first: 0x300, count: 1 }])]),
    ]);
    const { summary, origin } = explainFault(fault("1000.iommu", 0x300), undefined, both);
    expect(summary).toContain("StreamID 0x300 (0000:03:00.0 or 0000:03:00.1) read 0x1000");
    expect(origin?.text).toBe("0000:03:00.0, or 0000:03:00.1");
  });

  it("prefers the device that Linux connects there, and knows the other one", () => {
    const [used, unused] = [
      device("a", [link([{ first: 7, count: 1 }])]),
      device("b", [link([{ first: 7, count: 2 }], { used: false })]),
    ];
    expect(names(topologyWith([used, unused]), fault("1000.iommu", 7))).toEqual(["a"]);
    expect(names(topologyWith([used, unused]), fault("1000.iommu", 8))).toEqual(["b"]);
  });

  it("may leave bits out, on an SMMUv2", () => {
    const masked = topologyWith([device("a.usb", [link([{ first: 0x3c0, count: 1, rest: [0x7f80] }])])], {
      kind: "arm,smmu",
    });
    expect(names(masked, smmuv2("1000.iommu", 0x3c0))).toEqual(["a.usb"]);
    expect(names(masked, smmuv2("1000.iommu", 0x47c0))).toEqual(["a.usb"]);
    expect(names(masked, smmuv2("1000.iommu", 0x3c1))).toEqual([]);
  });

  it("is a bus's where functions cannot be told apart, or are no functions", () => {
    const range = [{ first: 0x100, count: 0x100, input: 0 }];
    const bus = (name: string, more: Partial<IommuLink> = {}) =>
      topologyWith([device(name, [link(range, more)], { isBus: true, bus: "platform" })]);
    expect(names(bus("1.pcie"), fault("1000.iommu", 0x108))).toEqual(["00:01.0 of 1.pcie"]);
    expect(names(bus("1.pcie", { mask: 0xff00 }), fault("1000.iommu", 0x108))).toEqual(["1.pcie"]);
    expect(names(bus("1.fsl-mc"), fault("1000.iommu", 0x108))).toEqual(["1.fsl-mc"]);
    const whole = topologyWith([device("1.pcie", [link([{ first: 5, count: 1 }])], { isBus: true })]);
    expect(names(whole, fault("1000.iommu", 5))).toEqual(["1.pcie"]);
  });
});

describe("whose the faults of real kernels are", () => {
  interface Recording {
    readonly kernel: string;
    readonly machine: string;
    readonly devices: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  }
  const file = new URL("../conformance/recorded-events.json", import.meta.url);
  const { recordings } = JSON.parse(readFileSync(file, "utf8")) as { readonly recordings: readonly Recording[] };
  const smmu = (address: bigint) => ({
    body: { type: "smmu-v3" as const, address, model: 0, flags: 0, ownMapping: undefined },
  });
  const map = (input: number, last: number, target: number) => ({ input, last, output: input, target, single: false });
  /** What the recorded machines' firmware says: buses from 0x20 on are behind the second SMMU. */
  const firmware = iortTable([
    smmu(0xc000000n),
    smmu(0xc020000n),
    {
      body: { type: "root-complex", segment: 0, ats: false, memory: { coherent: true, flags: 3 } },
      mappings: [map(0, 0x1fff, 0), map(0x2000, 0xffff, 1)],
    },
  ]);

  it.each(recordings.map((each) => [each.kernel, each.machine, each] as const))("of %s on %s", (_, __, recording) => {
    const topology = topologyOfAcpi(firmware, "IORT");
    let found = 0;
    for (const [name, said] of Object.entries(recording.devices)) {
      for (const each of readFaults(Object.values(said).flat()).faults) {
        found += 1;
        const { summary, origin } = explainFault(each, undefined, topology);
        expect(summary.startsWith(`${name} `)).toBe(true);
        // With and without the name that newer kernels have in the log.
        expect(origin?.iommu).toBe(`smmu3.0x000000000${name === "0000:02:00.0" ? "c000000" : "c020000"}`);
        const { origin: byId } = explainFault({ ...each, device: undefined }, undefined, topology);
        expect(byId).toMatchObject({ from: "ids", devices: [{ name }] });
      }
    }
    expect(found).toBeGreaterThan(0);
  });
});

describe("whose a requester ID of Intel's and AMD's is", () => {
  const intel = (line: string) => readFaults(line).faults[0]!;
  const at = (domain: number, name: string) =>
    device(name, [link([], { iommu: "S" })], { domain, requesterId: 0x200, driver: "vfio-pci", group: 4 });

  it("is the device of that name, or where the domain is left out, one of another domain", () => {
    const old = intel("DMAR: [DMA Read] Request device [02:00.0] fault addr 1000 [fault reason 06] x");
    expect(names(topologyWith([at(0, "0000:02:00.0"), at(1, "0001:02:00.0")], { kind: "intel" }), old)).toEqual([
      "0000:02:00.0",
    ]);
    const origin = faultOrigin(old, topologyWith([at(1, "0001:02:00.0")], { kind: "intel" }));
    expect(origin).toMatchObject({ from: "log", iommu: SMMU.name, text: "0001:02:00.0 (driver vfio-pci, group 4)" });
  });
});

describe("a fault in a space, with a topology", () => {
  it("is of the interface that has the ID, and of none where another device has it", async () => {
    const machine = simulate(chip, { drivers: "vfio", release: "6.12" });
    await using space = await IoAddressSpace.open(machine, [FUNCTION, PORT], { strategy: "mirrored" });
    const merged = mergeTopologies([topologyOfSysfs(machine), tree()]);
    const own = explainFault(fault("c020000.iommu", 0x42), space, merged);
    expect(own.summary).toBe(`${PORT} read 0x1000: nothing is mapped there`);
    expect(own.place).toMatchObject({ interface: PORT, interfaceFrom: "topology", iommu: "smmu3.0x000000000c020000" });
    const stranger = topologyWith([device("a.b", [link([{ first: 9, count: 1 }])])]);
    expect(explainFault(fault("1000.iommu", 9), space, stranger).place?.text).toMatch(/^a\.b is no interface/);
  });

  it("of ACPI's names is told from those that are not the space's", async () => {
    const machine = simulate(chip, { drivers: "vfio" });
    await using space = await IoAddressSpace.open(machine, [FUNCTION, PORT], { strategy: "mirrored" });
    const known = topologyOfSysfs(machine);
    const numbered = {
      ...known,
      iommus: known.iommus.map((each, index) => ({ ...each, device: `arm-smmu-v3.${index}.auto` })),
    };
    const nameless = { ...fault("arm-smmu-v3.1.auto", 0x42), device: undefined };
    expect(explainFault(nameless, space).place?.interface).toBeUndefined();
    expect(explainFault(nameless, space, numbered).place).toMatchObject({ interface: PORT, interfaceFrom: "iommu" });
  });
});

it("never throws, whatever a fault lacks", () => {
  const blank = blankFault("dmar", { time: undefined, number: 1 });
  for (const format of ["arm-smmu-v3", "arm-smmu", "dmar", "amd-vi"] as const) {
    const { text } = faultOrigin({ ...blank, format }, tree());
    expect(text).not.toBe("");
  }
});
