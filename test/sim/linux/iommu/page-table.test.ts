import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IntervalMap } from "../../../../src/sim/interval-map.js";
import type { IommuDomain } from "../../../../src/sim/linux/iommu/iommu.js";
import { leafAttributes } from "../../../../src/sim/linux/iommu/leaf-attributes.js";
import { outcome } from "../../support/outcome.js";
import { READ_WRITE, SmmuRig } from "./smmu-rig.js";

const RAM = 2 ** 34;
const SID = 0x100;

/** Where things are, as simply as it can be said. */
type Reference = IntervalMap<number>;

const layouts = [
  ["4 KiB pages, stage 1", 1, 0x40201000n, 4096],
  ["16 KiB pages, stage 1", 1, 0x2004000n, 16384],
  ["64 KiB pages, stage 1", 1, 0x20010000n, 65536],
  ["4 KiB pages, stage 2", 2, 0x40201000n, 4096],
  ["16 KiB pages, stage 2", 2, 0x2004000n, 16384],
  ["64 KiB pages, stage 2", 2, 0x20010000n, 65536],
  ["4 KiB pages without 2 MiB blocks", 1, 0x40001000n, 4096],
  ["4 KiB pages of a processor with 64 KiB pages", 1, 0x40201000n, 65536],
] as const;

function setUp(stage: 1 | 2, pageSizes: bigint, cpuPageSize: number) {
  const rig = new SmmuRig({ iommu: { stage, pageSizes, outputBits: 40 }, cpuPageSize });
  return { rig, ...rig.attached(SID) };
}

/** What the hardware and the kernel say about an address, and what the reference says. */
function compareAt(rig: SmmuRig, domain: IommuDomain, reference: Reference, iova: number): void {
  const found = reference.at(iova);
  const expected = found && found.value + iova - found.start;
  expect(rig.hardware.translate(SID, iova, false)).toBe(expected ?? -1);
  expect(domain.physicalAddressOf(iova)).toBe(expected);
}

describe.each(layouts)("page tables: %s", (_name, stage, pageSizes, cpuPageSize) => {
  const page = Number(pageSizes & -pageSizes);
  const block = Number(pageSizes & ~(pageSizes & -pageSizes) & -(pageSizes & ~(pageSizes & -pageSizes)));

  it("say what was mapped, and only while it is", () => {
    /** Near the places where tables begin and blocks fit. */
    const place = fc
      .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: -2, max: 2 }))
      .map(([blocks, pages]) => Math.max(0, blocks * block + pages * page));
    const length = fc.oneof(
      fc.integer({ min: 1, max: 4 }).map((pages) => pages * page),
      fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: -1, max: 1 })).map(([b, p]) => b * block + p * page),
    );
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("map"), at: place, to: place, size: length }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("unmap"), at: place, to: place, size: length }) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const { rig, domain } = setUp(stage, pageSizes, cpuPageSize);
        const reference: Reference = new IntervalMap((physical, from) => physical + from);
        const places = new Set<number>();
        for (const { kind, at, to, size } of steps) {
          for (const edge of [at, at + size]) for (const near of [edge - 1, edge, edge + page - 1]) places.add(near);
          const there = reference.first(at, at + size);
          if (kind === "map" && there === undefined) {
            domain.map(at, RAM + to, size, READ_WRITE);
            reference.insert(at, at + size, RAM + to);
          } else if (kind === "unmap" && there !== undefined) {
            // Whole mappings, as type1 unmaps them.
            expect(domain.unmap(there.start, there.end - there.start)).toBe(there.end - there.start);
            reference.remove(there.start, there.end);
          }
          for (const place of places) if (place >= 0) compareAt(rig, domain, reference, place);
        }
        const mapped = [...reference].reduce((sum, { start, end }) => sum + end - start, 0);
        expect(domain.mappings().reduce((sum, mapping) => sum + mapping.size, 0)).toBe(mapped);
        domain.unmap(0, 0);
      }),
      { numRuns: 25 },
    );
  });

  it("give back all memory with the domain", () => {
    const { rig } = setUp(stage, pageSizes, cpuPageSize);
    const before = rig.physical.reserved;
    const domain = rig.smmu.allocateDomain();
    domain.map(0, RAM, 3 * block, READ_WRITE);
    domain.map(2 ** 36 + page, RAM, block, READ_WRITE);
    expect(rig.physical.reserved).toBeGreaterThan(before);
    domain.free();
    expect(rig.physical.reserved).toBe(before);
  });

  it("refuse what they cannot hold, with nothing changed", () => {
    const { domain } = setUp(stage, pageSizes, cpuPageSize);
    const { end } = domain.aperture;
    domain.map(block, RAM, page, READ_WRITE);
    expect(outcome(() => domain.map(0, RAM, page / 2, READ_WRITE))).toBe("EINVAL");
    expect(outcome(() => domain.map(0, RAM + 1, page, READ_WRITE))).toBe("EINVAL");
    expect(outcome(() => domain.map(end + 1, RAM, page, READ_WRITE))).toBe("ERANGE");
    expect(outcome(() => domain.map(end + 1 - page, RAM, 2 * page, READ_WRITE))).toBe("ERANGE");
    expect(outcome(() => domain.map(0, 2 ** 40 - page, 2 * page, READ_WRITE))).toBe("ERANGE");
    expect(outcome(() => domain.map(block - 2 * page, RAM, 4 * page, READ_WRITE))).toBe("EEXIST");
    expect(domain.mappings()).toEqual([{ iova: block, physicalAddress: RAM, size: page, read: true, write: true }]);
  });
});

describe("entries", () => {
  it("are blocks wherever addresses allow", () => {
    const { rig, domain } = setUp(1, 0x40201000n, 4096);
    const before = rig.physical.reserved;
    domain.map(2 ** 30, 2 ** 33, 2 ** 32, READ_WRITE);
    expect(rig.physical.reserved - before).toBe(4096);
    rig.hardware.translate(SID, 2 ** 30 + 12345, false);
    expect(rig.hardware.reach).toBeGreaterThanOrEqual(4096);
    const reads = rig.hardware.counters.descriptorReads;
    rig.hardware.translate(SID, 2 ** 31, false);
    expect(rig.hardware.counters.descriptorReads - reads).toBeLessThanOrEqual(2);
  });

  it("allow in stage 1 what is written to be read, in stage 2 only what was asked for", () => {
    const allowed = (stage: 1 | 2, read: boolean, write: boolean) => {
      const { rig, domain } = setUp(stage, 0x40201000n, 4096);
      domain.map(0, RAM, 4096, { read, write });
      return [rig.hardware.translate(SID, 0, false) >= 0, rig.hardware.translate(SID, 0, true) >= 0];
    };
    expect(allowed(1, true, false)).toEqual([true, false]);
    expect(allowed(1, false, true)).toEqual([true, true]);
    expect(allowed(2, true, false)).toEqual([true, false]);
    expect(allowed(2, false, true)).toEqual([false, true]);
  });

  it.each([1, 2] as const)("of 64 KiB have room for addresses of 52 bits (stage %i)", (stage) => {
    const K64 = 65536;
    const banks = [{ start: 2 ** 48, size: 2 ** 30 }];
    const rig = new SmmuRig({ iommu: { stage, pageSizes: 0x20010000n, outputBits: 52 }, cpuPageSize: K64, banks });
    const { domain } = rig.attached(SID);
    const physicalAddress = 2 ** 51 + 2 ** 48 + 3 * K64;
    domain.map(K64, physicalAddress, K64, READ_WRITE);
    domain.map(2 ** 40, 2 ** 48, 2 ** 29, READ_WRITE);
    for (const [iova, expected] of [
      [K64 + 5, physicalAddress + 5],
      [2 ** 40 + 7, 2 ** 48 + 7],
    ] as const) {
      expect(domain.physicalAddressOf(iova)).toBe(expected);
      expect(rig.hardware.translate(SID, iova, true)).toBe(expected);
    }
    expect(domain.mappings()[0]).toMatchObject({ iova: K64, physicalAddress });
    expect(domain.unmap(K64, K64)).toBe(K64);
  });

  it.each([1, 2] as const)("are not made for what nobody may use (stage %i)", (stage) => {
    const { rig, domain } = setUp(stage, 0x40201000n, 4096);
    const before = rig.physical.reserved;
    const nothing = { read: false, write: false };
    expect(outcome(() => domain.map(0x1000, RAM, 4096, nothing))).toBe("EINVAL");
    expect(outcome(() => domain.map(domain.aperture.end + 1, RAM, 4096, nothing))).toBe("ERANGE");
    expect([rig.physical.reserved, domain.mappings()]).toEqual([before, []]);
  });

  it("of registers are neither cached nor executed", () => {
    const { rig, domain } = setUp(1, 0x40201000n, 4096);
    domain.map(0x1000, 0x808_0000, 4096, { read: false, write: true, device: true });
    expect(rig.hardware.translate(SID, 0x1000, true)).toBe(0x808_0000);
    // ARM_LPAE_PTE_XN: bits 53 and 54.
    const high = ([1, 2] as const).map((stage) => leafAttributes(stage, { ...READ_WRITE, device: true }, true).high);
    expect(high).toEqual([3 << 21, 3 << 21]);
  });

  it("of a part of a block are not unmapped", () => {
    const { domain } = setUp(1, 0x40201000n, 4096);
    domain.map(2 ** 21, RAM, 2 ** 21, READ_WRITE);
    expect(domain.unmap(2 ** 21, 4096)).toBe(0);
    expect(domain.unmap(2 ** 21 + 4096, 4096)).toBe(0);
    expect(domain.mappings()).toHaveLength(1);
  });

  it("go on physically up to where they do not", () => {
    const { domain } = setUp(1, 0x40201000n, 4096);
    domain.map(0x1000, RAM, 0x3000, READ_WRITE);
    domain.map(0x4000, RAM + 0x3000, 0x1000, READ_WRITE);
    domain.map(0x5000, RAM + 0x9000, 0x1000, READ_WRITE);
    const runs = [0, 0x1000, 0x2000, 0x4000, 0x5000].map((iova) => domain.contiguousFrom(iova, 0x100000));
    expect(runs).toEqual([0, 0x4000, 0x3000, 0x1000, 0x1000]);
    expect(domain.contiguousFrom(0x1000, 0x2000)).toBe(0x2000);
  });
});

describe("memory for tables", () => {
  const banks = [{ start: 2 ** 30, size: 2 ** 20 }];

  it("that runs out is ENOMEM, with nothing mapped", () => {
    const rig = new SmmuRig({ banks });
    const { domain } = rig.attached(SID);
    const far = Array.from({ length: 400 }, (_, index) => index * 2 ** 30);
    const answers = far.map((iova) => outcome(() => domain.map(iova, RAM, 4096, READ_WRITE)));
    expect(answers[0]).toBeUndefined();
    expect(answers.at(-1)).toBe("ENOMEM");
    expect(domain.mappings()).toHaveLength(answers.filter((answer) => answer === undefined).length);
  });

  it("that was used before is used again, before it runs out where the SMMU reaches", () => {
    const MiB = 2 ** 20;
    const low = { start: 2 ** 30, size: 128 * MiB };
    const rig = new SmmuRig({ iommu: { outputBits: 36 }, banks: [low, { start: 2 ** 36, size: 2 ** 30 }] });
    for (let round = 0; round < 40; round++) {
      const address = rig.physical.allocate(new Uint8Array(4 * MiB), 4096)!;
      rig.physical.release(address, 4 * MiB);
    }
    for (let round = 0; round < 2000; round++) rig.smmu.allocateDomain().free();
    const domain = rig.smmu.allocateDomain();
    domain.map(0x1000, 2 ** 30, 4096, READ_WRITE);
    expect(domain.physicalAddressOf(0x1000)).toBe(2 ** 30);
  });

  it("must be where the tables reach, too: 48 bits with 4 KiB pages, whatever the SMMU can", () => {
    const iommu = { outputBits: 52, pageSizes: 0x60211000n } as const;
    const high = [{ start: 2 ** 48, size: 2 ** 30 }];
    expect(() => new SmmuRig({ iommu, banks: high })).toThrow(/that the SMMU can address/);
  });

  it("must be where the SMMU reaches", () => {
    const high = [{ start: 2 ** 40, size: 2 ** 30 }];
    expect(() => new SmmuRig({ iommu: { outputBits: 36 }, banks: high })).toThrow(/that the SMMU can address/);
  });
});
