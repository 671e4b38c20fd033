import { describe, expect, it } from "vitest";
import type { Interfaces } from "../../src/space/interfaces.js";
import { intersectLimits } from "../../src/space/limits.js";
import { Mappings } from "../../src/space/mappings.js";
import { FakeTarget, type Fate } from "../support/fake-target.js";
import { asDmaMemory, FakeMemory } from "../support/records.js";

const PAGE = 4096;

/** A mapping in two targets, and in a third one that a device is just coming into. */
function mapped() {
  const [first, second, filling] = ["first", "second", "filling"].map((name) => new FakeTarget(name)) as [
    FakeTarget,
    FakeTarget,
    FakeTarget,
  ];
  const targets = [first, second];
  const limits = intersectLimits(
    targets.map((target) => ({ iommus: target.iommus, info: target.info() })),
    PAGE,
  );
  const interfaces = {
    limits,
    reaches: () => targets.map((target) => ({ target, access: "read-write" })),
    targetsWith: () => [...targets, filling],
  };
  const mappings = new Mappings(interfaces as unknown as Interfaces, PAGE);
  mappings.adopt(limits);
  const memory = new FakeMemory(PAGE);
  const record = mappings.mapNow(asDmaMemory(memory), { ownsMemory: true });
  filling.map({ ...record, access: "read-write" });
  const unmapping = (target: FakeTarget, fate: Fate) => {
    target.fate = (call) => (call === "unmap" ? fate : "works");
  };
  const left = () => [...targets, filling].filter(({ entries }) => entries.size > 0).map(({ iommus }) => iommus);
  return { first, filling, mappings, memory, record, unmapping, left };
}

describe("ending a mapping because what is mapped goes", () => {
  it("unmaps it everywhere, also from what is just being filled, and gives the IOVA free", () => {
    const { mappings, memory, record, left } = mapped();
    expect(mappings.endNow(record)).toEqual([]);
    expect([left(), memory.released, mappings.records, mappings.broken]).toEqual([[], true, [], undefined]);
    expect(mappings.mapNow(asDmaMemory(new FakeMemory(PAGE)), { iova: record.iova }).iova).toBe(record.iova);
    expect(mappings.endNow(record)).toEqual([]);
  });

  it("tells where it was not mapped any more, which breaks nothing", () => {
    const { first, mappings, memory, record, unmapping, left } = mapped();
    unmapping(first, "lost");
    expect(mappings.endNow(record)).toMatchObject([{ code: "ERR_IOSPAN_UNMAP_SHORT" }]);
    expect([left(), memory.released, mappings.broken]).toEqual([[], true, undefined]);
  });

  it.each([
    ["first", "fail", "ERR_IOSPAN_UNMAP_REFUSED"],
    ["first", "stuck", "ERR_IOSPAN_UNMAP_SHORT"],
    ["filling", "stuck", "ERR_IOSPAN_UNMAP_SHORT"],
  ] as const)("holds what may still be translated until the space is closed (%s: %s)", (where, fate, code) => {
    const { mappings, memory, record, unmapping, left, ...targets } = mapped();
    unmapping(targets[where], fate);
    expect(mappings.endNow(record)).toMatchObject([{ code }]);
    expect([left(), mappings.has(record)]).toEqual([[where], false]);
    expect(mappings.broken).toMatchObject({ code: "ERR_IOSPAN_INCONSISTENT" });
    expect([memory.users, memory.released]).toEqual([1, false]);
    unmapping(targets[where], "works");
    expect(mappings.unmapAll()).toEqual([]);
    expect(mappings.releaseAll()).toEqual([]);
    expect([memory.users, memory.released]).toEqual([0, true]);
  });
});
