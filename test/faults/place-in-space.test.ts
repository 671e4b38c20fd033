import { readFileSync } from "node:fs";
import {
  DmaMemory,
  DualPathEngine,
  explainFault,
  IoAddressSpace,
  type IommuFault,
  iova,
  readFaults,
  type SimulatedMachine,
  type SimulateOptions,
  simulate,
} from "iospan";
import { describe, expect, it } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";

const FUNCTION = "0000:01:00.0";
const PORT = "9030000.dma-port";
const BAD = 0x4000_0000n;

const start = (options: SimulateOptions = {}): SimulatedMachine =>
  simulate(readFileSync(packageFile("chips/dual-smmu.dts")), { drivers: "vfio", ...options });
const open = (machine: SimulatedMachine) => IoAddressSpace.open(machine, [FUNCTION, PORT], { strategy: "mirrored" });

/** What the log says of a copy that fails. */
async function faultOf(
  machine: SimulatedMachine,
  space: IoAddressSpace,
  { from, to, via }: { from: bigint; to: bigint; via: "function" | "port" },
): Promise<IommuFault> {
  const names = { function: FUNCTION, port: PORT };
  await using engine = await DualPathEngine.open(space, names, { completion: "poll" });
  const before = machine.kernelLog.length;
  await expect(engine.copy(iova(from), iova(to), 4096, { via })).rejects.toThrow();
  const { faults } = readFaults(machine.kernelLog.slice(before));
  expect(faults.length).toBeGreaterThan(0);
  return faults[0]!;
}

describe("a fault in a space", () => {
  it.each(["function", "port"] as const)("is beyond the mapping that it is beyond, by the %s", async (via) => {
    const machine = start();
    await using space = await open(machine);
    await using memory = DmaMemory.allocate(machine, 0x2000);
    await using low = await space.map(memory, { iova: BAD });
    await using high = await space.map(memory, { iova: BAD + 0x10000n });
    const fault = await faultOf(machine, space, { from: BAD + 0x4000n, to: BAD, via });
    const name = via === "function" ? FUNCTION : PORT;
    const { summary, place } = explainFault(fault, space);
    expect(summary).toBe(`${name} read 0x40004000: nothing is mapped there`);
    expect(place).toMatchObject({ interface: name, iommu: space.interface(name).iommu, allowed: undefined });
    expect(place?.before?.distance).toBe(0x2000n);
    expect(place?.before?.mapping.iova).toBe(low.iova);
    expect(place?.after?.mapping.iova).toBe(high.iova);
    expect(place?.text).toBe(
      "0x2000 bytes beyond the end of the mapping 0x40000000..0x40001fff, " +
        "0xc000 bytes before the start of the mapping 0x40010000..0x40011fff",
    );
  });

  it("is of the interface that its IOMMU shows, where an older kernel names none", async () => {
    const machine = start({ release: "6.12" });
    await using space = await open(machine);
    const fault = await faultOf(machine, space, { from: BAD, to: BAD + 0x1000n, via: "port" });
    expect(fault.device).toEqual({ name: "0000:00:08.2", from: "stream" });
    const { summary, place } = explainFault(fault, space);
    expect(summary).toBe(`StreamID 0x42 (${PORT}, if it is the space's) read 0x40000000: nothing is mapped there`);
    expect(place).toMatchObject({ interface: PORT, interfaceFrom: "iommu", text: "nothing is mapped in this space" });
  });

  it("is of the interface whose PCI address the StreamID is, marked as a guess", async () => {
    const machine = start({ release: "6.12" });
    await using space = await open(machine);
    const fault = await faultOf(machine, space, { from: BAD, to: BAD + 0x1000n, via: "function" });
    const { summary, place } = explainFault(fault, space);
    expect(summary).toContain(`StreamID 0x100 (${FUNCTION}, if that is its PCI address) read 0x40000000`);
    expect(place).toMatchObject({ interface: FUNCTION, interfaceFrom: "stream" });
    // The other SMMU has no such interface of the space's, whatever the StreamID looks like.
    const other = explainFault({ ...fault, iommu: "c020000.iommu" }, space).place;
    expect(other).toMatchObject({ interface: PORT, interfaceFrom: "iommu" });
  });

  it("may be of an access that the mapping does not allow", async () => {
    const machine = start();
    await using space = await open(machine);
    await using memory = DmaMemory.allocate(machine, 0x2000);
    await using mapping = await space.map(memory, { iova: BAD, access: "read" });
    const fault = await faultOf(machine, space, { from: BAD, to: BAD + 0x1000n, via: "port" });
    const { summary, place } = explainFault(fault, space);
    expect(summary).toContain(`${PORT} wrote to 0x40001000: the mapping there does not allow it`);
    expect(place).toMatchObject({ access: "read", allowed: false });
    expect(place?.mapping?.iova).toBe(mapping.iova);
    expect(place?.text).toContain('may read only: map it with access "write" or "read-write"');
  });

  it("may be in a mapping that is limited to others", async () => {
    const machine = start();
    await using space = await open(machine);
    await using memory = DmaMemory.allocate(machine, 0x2000);
    await using mapping = await space.map(memory, { iova: BAD, interfaces: [FUNCTION] });
    expect(mapping.accessOf(FUNCTION)).toBe("read-write");
    expect(mapping.accessOf(PORT)).toBeUndefined();
    const fault = await faultOf(machine, space, { from: BAD, to: BAD + 0x1000n, via: "port" });
    const { place } = explainFault(fault, space);
    expect(place).toMatchObject({ allowed: false, access: undefined });
    expect(place?.text).toContain(`limited to other interfaces than ${PORT}`);
  });

  it("may be in a mapping that its SMMU lacks", async () => {
    const machine = start({ bugs: { mapSkips: "smmu1" } });
    await using space = await open(machine);
    await using buffer = space.allocate(8192);
    const fault = await faultOf(machine, space, { from: buffer.iova, to: buffer.iova + 4096n, via: "port" });
    const { place } = explainFault(fault, space);
    expect(place).toMatchObject({ interface: PORT, access: "read-write", allowed: true });
    expect(place?.text).toContain("smmu3.0x000000000c020000 lacks it or has stale tables. space.audit() asks");
  });

  it("may be in what was unmapped before the device had finished", async () => {
    const machine = start();
    await using space = await open(machine);
    await using memory = DmaMemory.allocate(machine, 0x2000);
    await using _neighbour = await space.map(memory, { iova: BAD + 0x10000n });
    {
      await using _gone = await space.map(memory, { iova: BAD });
    }
    const fault = await faultOf(machine, space, { from: BAD + 0x800n, to: BAD + 0x10000n, via: "port" });
    const { place } = explainFault(fault, space);
    expect(place).toMatchObject({ mapping: undefined, unmapped: { start: BAD, end: BAD + 0x1fffn } });
    expect(place?.text).toContain("inside 0x40000000..0x40001fff, which was unmapped");
    // Mapped again, it is the mapping that counts.
    await using _again = await space.map(memory, { iova: BAD, access: "write" });
    expect(explainFault(fault, space).place).toMatchObject({ unmapped: undefined, allowed: false });
    // A space that does not remember answers all the same.
    const { closed, interfaces } = space;
    const forgetful = { closed, interfaces, mappings: [], interface: (name: string) => space.interface(name) };
    expect(explainFault(fault, forgetful).place?.text).toBe("nothing is mapped in this space");
  });

  it("may be none of the space's", async () => {
    const machine = start();
    await using space = await open(machine);
    await using only = await IoAddressSpace.open(start(), [FUNCTION]);
    const fault = await faultOf(machine, space, { from: BAD, to: BAD + 0x1000n, via: "port" });
    expect(explainFault(fault, only).place).toMatchObject({
      interface: undefined,
      text: `${PORT} is no interface of this space, which has ${FUNCTION}`,
    });
    const guessed = { ...fault, device: undefined };
    expect(explainFault(guessed, only).place?.text).toBe(
      `what is behind c020000.iommu is no interface of this space, which has ${FUNCTION}`,
    );
    const unknown = { ...guessed, iommu: "arm-smmu-v3.0.auto" };
    expect(explainFault(unknown, only).place?.text).toBe("nothing is mapped in this space");
  });

  it("may have no address, or only a page's", async () => {
    const machine = start();
    await using space = await open(machine);
    await using buffer = space.allocate(8192);
    const [fault] = readFaults(
      `DMAR: [DMA Read] Request device [01:00.0] fault addr ${buffer.iova.toString(16)} [fault reason 06] x`,
    ).faults;
    expect(explainFault(fault!, space).place).toMatchObject({ interface: FUNCTION, allowed: true });
    const none = { ...fault!, address: undefined };
    expect(explainFault(none, space).place?.text).toBe("the log has no address for it");
    const next = { ...fault!, address: iova(buffer.iova + 8192n) };
    expect(explainFault(next, space).place?.text).toContain("right beyond the end of the mapping");
  });

  it("is nowhere in a space that is closed", async () => {
    const machine = start();
    const space = await open(machine);
    const fault = await faultOf(machine, space, { from: BAD, to: BAD + 0x1000n, via: "port" });
    await space.close();
    expect(explainFault(fault, space).place?.interface).toBeUndefined();
  });
});
