import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import type { Interfaces } from "../../src/space/interfaces.js";
import type { MappingRecord } from "../../src/space/ledger.js";
import { intersectLimits, type SpaceLimits } from "../../src/space/limits.js";
import type { Reach } from "../../src/space/map-everywhere.js";
import { Mappings } from "../../src/space/mappings.js";
import { errorFrom, errorOf, rejectionOf, thrownBy } from "../support/errors.js";
import { FakeTarget, type Fate, fates } from "../support/fake-target.js";
import { asDmaMemory, FakeMemory, fakeMemory, record } from "../support/records.js";

const PAGE = 4096;

/** What {@link Mappings} needs of {@link Interfaces}: limits, and where a mapping goes. */
class FakeInterfaces {
  readonly targets: readonly FakeTarget[];
  readonly log: string[] = [];
  limits: SpaceLimits;

  constructor(count: number) {
    this.targets = Array.from({ length: count }, (_, index) => new FakeTarget(`smmu${index}`, this.log));
    this.limits = intersectLimits(
      this.targets.map((target) => ({ iommus: target.iommus, info: target.info() })),
      PAGE,
    );
  }

  reaches(access: MappingRecord["access"]): readonly Reach[] {
    return this.targets.flatMap((target) => {
      const each = typeof access === "string" ? access : access.get(target.iommus);
      return each === undefined ? [] : [{ target, access: each }];
    });
  }

  decide(plan: readonly Fate[]): void {
    const fate = fates(plan);
    for (const target of this.targets) target.fate = fate;
  }
}

function fresh(count = 2) {
  const interfaces = new FakeInterfaces(count);
  const mappings = new Mappings(interfaces as unknown as Interfaces, PAGE);
  mappings.adopt(interfaces.limits);
  return { interfaces, mappings, targets: interfaces.targets, log: interfaces.log };
}

/** IOVAs that each target has mapped, ascending. */
function mapped(targets: readonly FakeTarget[]): bigint[][] {
  return targets.map(({ entries }) => [...entries.keys()].sort((a, b) => (a < b ? -1 : 1)));
}

function iovas({ records }: Mappings): bigint[] {
  return records.map(({ iova }) => iova);
}

describe("mapping", () => {
  it.each(["now", "later"])("(%s) is in the ledger and in every target, and holds the memory", async (when) => {
    const { mappings, targets } = fresh();
    const memory = new FakeMemory(2 * PAGE, 0x10000n);
    const wish = { iova: 0x5000, access: "read" as const, ownsMemory: true };
    const mapping = await (when === "now"
      ? mappings.mapNow(asDmaMemory(memory), wish)
      : mappings.mapLater(asDmaMemory(memory), wish));
    expect(mapping).toMatchObject({
      iova: 0x5000n,
      size: 2 * PAGE,
      address: 0x10000n,
      access: "read",
      ownsMemory: true,
    });
    expect(mappings.records).toEqual([mapping]);
    expect(mappings.has(mapping)).toBe(true);
    expect(memory.users).toBe(1);
    for (const { entries } of targets) {
      expect([...entries]).toEqual([[0x5000n, { size: 2 * PAGE, address: 0x10000n, access: "read" }]]);
    }
  });

  it("is the caller's memory unless told otherwise", () => {
    expect(fresh().mappings.mapNow(fakeMemory(PAGE), {}).ownsMemory).toBe(false);
  });

  it("is limited to the interfaces that are named", () => {
    const { mappings, targets } = fresh();
    mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000, interfaces: { smmu1: "write" } });
    expect(mapped(targets)).toEqual([[], [0x5000n]]);
    expect(targets[1]?.entries.get(0x5000n as never)?.access).toBe("write");
  });

  it("keeps to the granule once limits are adopted", () => {
    const { mappings, interfaces } = fresh();
    const coarse = new FakeTarget("coarse", [], 0x10000n);
    interfaces.limits = intersectLimits([{ iommus: "coarse", info: coarse.info() }], PAGE);
    mappings.adopt(interfaces.limits);
    expect(errorOf(() => mappings.mapNow(fakeMemory(PAGE), {})).code).toBe("ERR_IOSPAN_MAP_ALIGNMENT");
    expect(mappings.mapNow(fakeMemory(0x10000, 0x20000n), {}).iova % 0x10000n).toBe(0n);
  });

  it.each([
    ["without an interface", 0, { iova: 0x5000 }, "ERR_IOSPAN_NO_DEVICE"],
    ["at an IOVA that is taken", 2, { iova: 0x1000 }, "ERR_IOSPAN_MAP_OVERLAP"],
    ["at an IOVA out of range", 2, { iova: 2n ** 50n }, "ERR_IOSPAN_MAP_RANGE"],
    ["with an access there is not", 2, { access: "execute" as never }, "ERR_IOSPAN_INVALID_ARGUMENT"],
    ["of more than the memory", 2, { size: 2 * PAGE }, "ERR_IOSPAN_INVALID_ARGUMENT"],
  ])("%s is refused before any target is asked, and lets go of the memory", (_, count, wish, code) => {
    const { mappings, log } = fresh(count);
    if (count > 0) mappings.mapNow(fakeMemory(PAGE), { iova: 0x1000 });
    const before = [...log];
    const memory = new FakeMemory(PAGE);
    expect(errorOf(() => mappings.mapNow(asDmaMemory(memory), wish)).code).toBe(code);
    expect(log).toEqual(before);
    expect(memory.users).toBe(0);
    expect(iovas(mappings)).toEqual(count > 0 ? [0x1000n] : []);
  });

  it("of released memory takes no IOVA", () => {
    const { mappings } = fresh();
    const memory = new FakeMemory(PAGE);
    memory.release();
    expect(errorOf(() => mappings.mapNow(asDmaMemory(memory), { iova: 0x1000 })).code).toBe("ERR_IOSPAN_RELEASED");
    expect(mappings.mapNow(fakeMemory(PAGE), { iova: 0x1000 }).iova).toBe(0x1000n);
  });

  it.each(["now", "later"])("(%s) that a target refuses leaves IOVA and memory free", async (when) => {
    const { mappings, interfaces, targets } = fresh();
    interfaces.decide(["works", "fail"]);
    const memory = new FakeMemory(PAGE);
    const wish = { iova: 0x5000 };
    const error = await errorFrom(
      when === "now"
        ? (async () => mappings.mapNow(asDmaMemory(memory), wish))()
        : mappings.mapLater(asDmaMemory(memory), wish),
    );
    expect(error.code).toBe("ERR_IOSPAN_MAP_REFUSED");
    expect(mappings.records).toEqual([]);
    expect(mappings.broken).toBeUndefined();
    expect(memory.users).toBe(0);
    expect(mapped(targets)).toEqual([[], []]);
    expect(mappings.mapNow(fakeMemory(PAGE), wish).iova).toBe(0x5000n);
  });

  it.each(["now", "later"])(
    "(%s) that can neither be made nor undone keeps IOVA and memory until the end",
    async (when) => {
      const { mappings, interfaces, targets } = fresh();
      interfaces.decide(["works", "fail", "fail"]);
      const memory = new FakeMemory(PAGE);
      const wish = { iova: 0x5000, ownsMemory: true };
      const error = await rejectionOf(
        when === "now"
          ? (async () => mappings.mapNow(asDmaMemory(memory), wish))()
          : mappings.mapLater(asDmaMemory(memory), wish),
      );
      expect(error).toMatchObject({ code: "ERR_IOSPAN_INCONSISTENT" });
      expect(mappings.broken).toBe(error);
      expect(mappings.records).toEqual([]);
      expect(memory.users).toBe(1);
      expect(errorOf(() => mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 })).code).toBe("ERR_IOSPAN_MAP_OVERLAP");
      expect(mappings.unmapAll()).toEqual([]);
      expect(mapped(targets)).toEqual([[], []]);
      expect(mappings.releaseAll()).toEqual([]);
      expect(memory).toMatchObject({ users: 0, released: true });
    },
  );

  it("under way has its IOVA already, and is not in the ledger yet", async () => {
    const { mappings } = fresh();
    const [first, second] = [mappings.mapLater(fakeMemory(PAGE), {}), mappings.mapLater(fakeMemory(PAGE), {})];
    expect(mappings.records).toEqual([]);
    expect((await first).iova).not.toBe((await second).iova);
    expect(iovas(mappings)).toHaveLength(2);
  });
});

describe("unmapping", () => {
  it.each(["now", "later"])("(%s) leaves it nowhere, and IOVA and memory free", async (when) => {
    const { mappings, targets } = fresh();
    const memory = new FakeMemory(PAGE);
    const mapping = mappings.mapNow(asDmaMemory(memory), { iova: 0x5000 });
    if (when === "now") mappings.unmapNow(mapping);
    else await mappings.unmapLater(mapping);
    expect(mappings.records).toEqual([]);
    expect(mapped(targets)).toEqual([[], []]);
    expect(memory.users).toBe(0);
    expect(mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 }).iova).toBe(0x5000n);
  });

  it("does nothing the second time, even if the IOVA is another mapping's by now", async () => {
    const { mappings, targets, log } = fresh();
    const old = mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 });
    mappings.unmapNow(old);
    mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 });
    const before = log.length;
    mappings.unmapNow(old);
    await mappings.unmapLater(old);
    expect(log).toHaveLength(before);
    expect(mapped(targets)).toEqual([[0x5000n], [0x5000n]]);
  });

  it.each(["now", "later"])("(%s) that is refused leaves it mapped everywhere", async (when) => {
    const { mappings, interfaces, targets } = fresh();
    const memory = new FakeMemory(PAGE);
    const mapping = mappings.mapNow(asDmaMemory(memory), { iova: 0x5000 });
    interfaces.decide(["works", "fail"]);
    const error = await errorFrom(
      when === "now" ? (async () => mappings.unmapNow(mapping))() : mappings.unmapLater(mapping),
    );
    expect(error.code).toBe("ERR_IOSPAN_UNMAP_REFUSED");
    expect(mappings.has(mapping)).toBe(true);
    expect(mappings.broken).toBeUndefined();
    expect(memory.users).toBe(1);
    expect(mapped(targets)).toEqual([[0x5000n], [0x5000n]]);
    await mappings.unmapLater(mapping); // and can be unmapped later
    expect(mapped(targets)).toEqual([[], []]);
  });

  it.each(["now", "later"])("(%s) that finds less than there should be reports it, and it is gone", async (when) => {
    const { mappings, interfaces, targets } = fresh();
    const memory = new FakeMemory(PAGE);
    const mapping = mappings.mapNow(asDmaMemory(memory), { iova: 0x5000 });
    interfaces.decide(["works", "lost"]);
    const error = await errorFrom(
      when === "now" ? (async () => mappings.unmapNow(mapping))() : mappings.unmapLater(mapping),
    );
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_SHORT", iommu: "smmu1" });
    expect(mappings.has(mapping)).toBe(false);
    expect(memory.users).toBe(0);
    expect(mapped(targets)).toEqual([[], []]);
    expect(mappings.broken).toBeUndefined();
  });

  it("that fails half-way and cannot be undone breaks the space, and may be tried again", () => {
    const { mappings, interfaces, targets } = fresh();
    const memory = new FakeMemory(PAGE);
    const mapping = mappings.mapNow(asDmaMemory(memory), { iova: 0x5000 });
    interfaces.decide(["works", "fail", "fail"]);
    const error = thrownBy(() => mappings.unmapNow(mapping));
    expect(mappings.broken).toBe(error);
    expect(mappings.has(mapping)).toBe(true);
    expect(memory.users).toBe(1);
    expect(mapped(targets)).toEqual([[], [0x5000n]]);
    expect(errorOf(() => mappings.unmapNow(mapping)).code).toBe("ERR_IOSPAN_UNMAP_SHORT");
    expect(mapped(targets)).toEqual([[], []]);
    expect(mappings.broken).toBe(error); // the first failure is the one that says what happened
  });

  it("twice at once is done once, and both are told the same", async () => {
    const { mappings, log } = fresh();
    const mapping = mappings.mapNow(fakeMemory(PAGE), {});
    log.length = 0;
    await Promise.all([mappings.unmapLater(mapping), mappings.unmapLater(mapping)]);
    expect(log).toEqual(["unmap smmu0", "unmap smmu1"]);
  });

  it("twice at once that is refused is refused twice, and can be done afterwards", async () => {
    const { mappings, interfaces, targets } = fresh();
    const mapping = mappings.mapNow(fakeMemory(PAGE), {});
    interfaces.decide(["fail"]);
    const both = [mappings.unmapLater(mapping), mappings.unmapLater(mapping)];
    const [first, second] = await Promise.all(both.map(rejectionOf));
    expect(first).toBeInstanceOf(IospanError);
    expect(second).toBe(first);
    await mappings.unmapLater(mapping);
    expect(mapped(targets)).toEqual([[], []]);
  });

  it("now is refused while it is being unmapped", async () => {
    const { mappings } = fresh();
    const mapping = mappings.mapNow(fakeMemory(PAGE), {});
    const leaving = mappings.unmapLater(mapping);
    expect(errorOf(() => mappings.unmapNow(mapping)).code).toBe("ERR_IOSPAN_BUSY");
    await leaving;
    mappings.unmapNow(mapping);
    expect(mappings.has(mapping)).toBe(false);
  });

  it("frees the IOVA only once the last target has let go", async () => {
    const { mappings } = fresh();
    const mapping = mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 });
    const leaving = mappings.unmapLater(mapping);
    expect(errorOf(() => mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 })).code).toBe("ERR_IOSPAN_MAP_OVERLAP");
    await leaving;
    expect(mappings.mapNow(fakeMemory(PAGE), { iova: 0x5000 }).iova).toBe(0x5000n);
  });
});

describe("at the end of a space", () => {
  it("everything is unmapped that can be, and what cannot is reported", () => {
    const { mappings, interfaces, targets } = fresh();
    for (const iova of [0x3000, 0x1000, 0x2000]) mappings.mapNow(fakeMemory(PAGE), { iova });
    interfaces.decide(["works", "fail"]);
    const failures = mappings.unmapAll();
    expect(failures.map((failure) => (failure as Error).message)).toEqual(["smmu1 refuses: unmap"]);
    expect(mapped(targets)).toEqual([[], [0x1000n]]);
  });

  it("memory is let go of, and released where it is the mapping's own", () => {
    const { mappings } = fresh();
    const [own, others] = [new FakeMemory(PAGE), new FakeMemory(PAGE)];
    mappings.mapNow(asDmaMemory(own), { ownsMemory: true });
    mappings.mapNow(asDmaMemory(others), {});
    mappings.unmapAll();
    expect(mappings.releaseAll()).toEqual([]);
    expect([own, others]).toMatchObject([
      { users: 0, released: true },
      { users: 0, released: false },
    ]);
    expect(mappings.records).toEqual([]);
    expect(mappings.releaseAll()).toEqual([]);
  });

  it("memory that will not go is reported, and the rest goes", () => {
    const { mappings } = fresh();
    const [stubborn, other] = [new FakeMemory(PAGE), new FakeMemory(PAGE)];
    const failure = new Error("munmap");
    stubborn.release = () => {
      throw failure;
    };
    mappings.mapNow(asDmaMemory(stubborn), { ownsMemory: true });
    mappings.mapNow(asDmaMemory(other), { ownsMemory: true });
    expect(mappings.releaseAll()).toEqual([failure]);
    expect(other.released).toBe(true);
  });
});

describe("noteBroken", () => {
  it("remembers the first inconsistency and nothing else", () => {
    const { mappings } = fresh();
    const hint = "close it";
    const [ordinary, first] = [new Error("ordinary"), new IospanError("ERR_IOSPAN_INCONSISTENT", "1", { hint })];
    expect(mappings.noteBroken(ordinary)).toBe(ordinary);
    expect(mappings.broken).toBeUndefined();
    expect(mappings.noteBroken(first)).toBe(first);
    mappings.noteBroken(new IospanError("ERR_IOSPAN_INCONSISTENT", "2", { hint }));
    expect(mappings.broken).toBe(first);
  });
});

describe("whatever is mapped and unmapped, and whatever fails,", () => {
  const operations = fc.array(
    fc.record({
      kind: fc.constantFrom("map now", "map later", "unmap now", "unmap later"),
      pages: fc.integer({ min: 1, max: 4 }),
      which: fc.nat(20),
      only: fc.option(fc.constantFrom("smmu0", "smmu1", "smmu2"), { nil: undefined }),
      plan: fc.array(fc.constantFrom<Fate>("works", "works", "works", "fail", "lost"), { maxLength: 6 }),
    }),
    { maxLength: 25 },
  );

  it("every target has the ledger's mappings and no others, as long as the space is not broken", async () => {
    await fc.assert(
      fc.asyncProperty(operations, async (list) => {
        const { mappings, interfaces, targets } = fresh(3);
        const memories: FakeMemory[] = [];
        const live = new Set<MappingRecord>();
        for (const { kind, pages, which, only, plan } of list) {
          interfaces.decide(plan);
          const memory = new FakeMemory(pages * PAGE, BigInt(which) * 4096n);
          memories.push(memory);
          const wish = only === undefined ? {} : { interfaces: [only] };
          const victim = [...live][which % Math.max(live.size, 1)];
          try {
            if (kind === "map now") live.add(mappings.mapNow(asDmaMemory(memory), wish));
            else if (kind === "map later") live.add(await mappings.mapLater(asDmaMemory(memory), wish));
            else if (victim !== undefined && kind === "unmap now") mappings.unmapNow(victim);
            else if (victim !== undefined) await mappings.unmapLater(victim);
          } catch (error) {
            expect(error).toBeInstanceOf(IospanError);
          }
          for (const mapping of live) if (!mappings.has(mapping)) live.delete(mapping);
          if (mappings.broken !== undefined) break;
          expect(mappings.records).toHaveLength(live.size);
          for (const target of targets) {
            const due = mappings.records.filter(
              ({ access }) => typeof access === "string" || access.has(target.iommus),
            );
            expect(mapped([target])[0]).toEqual(due.map(({ iova }) => iova));
          }
          expect(memories.reduce((sum, { users }) => sum + users, 0)).toBe(live.size);
        }
        interfaces.decide([]);
        mappings.unmapAll();
        mappings.releaseAll();
        expect(mapped(targets)).toEqual([[], [], []]);
        expect(memories.every(({ users }) => users === 0)).toBe(true);
      }),
    );
  });

  it("knows only its own records", () => {
    expect(fresh().mappings.has(record(0x1000, PAGE))).toBe(false);
  });
});
