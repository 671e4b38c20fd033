import assert from "node:assert/strict";
import { type DmaMemory, type HugePages, IoAddressSpace, IospanError } from "iospan";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const MIB = 2 ** 20;

async function withSpace(
  rig: Rig,
  use: (space: IoAddressSpace, memory: DmaMemory, page: number) => Promise<void>,
): Promise<void> {
  await using space = await IoAddressSpace.open(rig.machine, [rig.first, rig.second], { strategy: rig.strategy });
  using memory = granules(rig, 16);
  await use(space, memory, granuleOf(rig));
  for (const mapping of space.mappings) await mapping.unmap();
  consistent(space, 0);
}

export const mapping: readonly Scenario[] = [
  scenario("maps, finds and unmaps", (rig) =>
    withSpace(rig, async (space, memory) => {
      const mapped = await space.map(memory);
      assert.equal(mapped.mapped, true);
      assert.equal(mapped.size, memory.size);
      assert.notEqual(mapped.iova, 0n);
      consistent(space, 1);
      await mapped.unmap();
      await mapped.unmap();
      assert.equal(mapped.mapped, false);
      consistent(space, 0);
    }),
  ),

  scenario("refuses every kind of overlap, and keeps what is there", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      const at = 0x200000;
      await space.map(memory, { iova: at, size: 4 * page });
      const overlaps: [number, number][] = [
        [at, 4 * page],
        [at - page, 2 * page],
        [at + 3 * page, 2 * page],
        [at + page, page],
        [at - page, 6 * page],
      ];
      for (const [iova, size] of overlaps) {
        await refused("ERR_IOSPAN_MAP_OVERLAP", () => space.map(memory, { iova, size }));
      }
      consistent(space, 1);
      await space.map(memory, { iova: at - page, size: page });
      await space.map(memory, { iova: at + 4 * page, size: page });
      consistent(space, 3);
    }),
  ),

  scenario("keeps out of reserved windows, by choice and by refusal", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      const { ranges } = space.iovaRanges;
      for (const [index, range] of ranges.slice(1).entries()) {
        const hole = { start: (ranges[index]?.end ?? 0n) + 1n, end: range.start - 1n };
        for (const iova of [hole.start, hole.start - BigInt(page), hole.end + 1n - BigInt(page)]) {
          await refused("ERR_IOSPAN_MAP_RANGE", () => space.map(memory, { iova, size: 2 * page }));
        }
        const removed = space.iovaRanges.removed.find(({ start }) => start <= hole.start);
        assert.ok(removed !== undefined && removed.by.length > 0, "who removed the hole is told");
      }
      consistent(space, 0);
    }),
  ),

  scenario("reaches the end of the aperture and not beyond", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      const end = space.iovaRanges.ranges.at(-1)?.end ?? 0n;
      const last = end + 1n - BigInt(page);
      await space.map(memory, { iova: last, size: page });
      consistent(space, 1);
      for (const iova of [end + 1n, last + BigInt(2 * page)].filter((at) => at < 2n ** 64n)) {
        await refused("ERR_IOSPAN_MAP_RANGE", () => space.map(memory, { iova, size: page }));
      }
      await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.map(memory, { iova: 2n ** 64n }));
      for (const mapping of space.mappings) await mapping.unmap();
      await refused("ERR_IOSPAN_MAP_RANGE", () => space.map(memory, { iova: last, size: 2 * page }));
    }),
  ),

  scenario("maps IOVA 0 when told to, never of its own accord", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      const chosen = await space.map(memory, { size: page });
      assert.notEqual(chosen.iova, 0n);
      const told = await space.map(memory, { iova: 0, size: page });
      assert.equal(told.iova, 0n);
      consistent(space, 2);
    }),
  ),

  scenario("refuses sizes and offsets that make no sense", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      for (const size of [0, -page, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 17 * page]) {
        await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.map(memory, { size }));
      }
      await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.map(memory, { offset: -1 }));
      await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.map(memory, { offset: 16 * page }));
      for (const options of [
        { size: 1 },
        { size: page / 2 },
        { size: page + 1 },
        { offset: 512 },
        { offset: page / 2 },
      ]) {
        await refused("ERR_IOSPAN_MAP_ALIGNMENT", () => space.map(memory, options));
      }
      for (const iova of [0x200001, 0x200000 + page / 2]) {
        await refused("ERR_IOSPAN_MAP_ALIGNMENT", () => space.map(memory, { iova }));
      }
      for (const size of [0, -1, Number.NaN, 2n ** 64n]) {
        await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.allocate(size));
      }
      consistent(space, 0);
    }),
  ),

  scenario("maps sizes around every page size", (rig) =>
    withSpace(rig, async (space, _, page) => {
      for (const size of [page, 2 * page, 64 * 1024, 2 * MIB - page, 2 * MIB, 2 * MIB + page, 4 * MIB]) {
        using buffer = space.allocate(size);
        assert.ok(buffer.size >= size && buffer.size % page === 0);
        assert.equal(buffer.bytes.length, buffer.size);
        consistent(space, 1);
      }
    }),
  ),

  scenario("uses huge pages of the machine where some are reserved", (rig) =>
    withSpace(rig, async (space) => {
      try {
        using buffer = space.allocate(2 * MIB, { hugePages: "2MiB" });
        assert.equal(buffer.memory.pageSize, 2 * MIB);
        if ((space.pageSizes.bitmap & BigInt(2 * MIB)) !== 0n)
          assert.equal(buffer.iova % BigInt(2 * MIB), 0n, "congruent, so that one block maps it");
        consistent(space, 1);
      } catch (error) {
        if (!(error instanceof IospanError) || error.code !== "ERR_IOSPAN_NO_MEMORY") throw error;
        assert.match(error.hint ?? "", /nr_hugepages/);
      }
      for (const hugePages of ["no", "try"] satisfies HugePages[]) {
        using buffer = space.allocate(2 * MIB, { hugePages });
        assert.equal(buffer.size, 2 * MIB);
      }
    }),
  ),

  scenario("maps memory that another process can share", (rig) =>
    withSpace(rig, async (space, _, page) => {
      using buffer = space.allocate(4 * page, { backing: "memfd" });
      assert.ok(buffer.memory.fd !== undefined);
      buffer.bytes[0] = 7;
      consistent(space, 1);
    }),
  ),

  scenario("maps one memory at several IOVAs, in parts", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      const parts = await Promise.all(
        Array.from({ length: 16 }, (_, index) => space.map(memory, { offset: index * page, size: page })),
      );
      const whole = await space.map(memory);
      assert.equal(new Set([...parts, whole].map(({ iova }) => iova)).size, 17);
      parts[3]?.bytes.fill(9);
      assert.equal(whole.bytes[3 * page], 9);
      consistent(space, 17);
    }),
  ),

  scenario("gives IOVAs out again, but only after the unmap", (rig) =>
    withSpace(rig, async (space, memory, page) => {
      const first = await space.map(memory);
      const unmapping = first.unmap();
      const second = space.allocate(page);
      assert.notEqual(second.iova, first.iova);
      await Promise.all([unmapping, first.unmap()]);
      const third = await space.map(memory, { iova: first.iova });
      assert.equal(third.iova, first.iova);
      second.free();
      consistent(space, 1);
    }),
  ),

  scenario("maps for reading, for writing and for both", (rig) =>
    withSpace(rig, async (space, memory) => {
      for (const access of ["read", "write", "read-write"] as const) await space.map(memory, { access });
      consistent(space, 3);
      // @ts-expect-error what a caller without types may pass
      await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.map(memory, { access: "rw" }));
    }),
  ),

  scenario("maps for some interfaces only, where the strategy can", (rig) =>
    withSpace(rig, async (space, memory) => {
      if (rig.strategy !== "mirrored") {
        const error = await refused("ERR_IOSPAN_NOT_SUPPORTED", () => space.map(memory, { interfaces: [rig.first] }));
        assert.match(error.hint ?? "", /mirrored/);
        return;
      }
      if (rig.oneIommu) {
        const error = await refused("ERR_IOSPAN_NOT_SUPPORTED", () => space.map(memory, { interfaces: [rig.first] }));
        assert.match(error.hint ?? "", /name them all/);
        return;
      }
      const one = await space.map(memory, { interfaces: [rig.first] });
      const both = await space.map(memory, { interfaces: { [rig.first]: "read", [rig.second]: "write" } });
      assert.notEqual(one.iova, both.iova);
      consistent(space, 2);
      await refused("ERR_IOSPAN_NO_DEVICE", () => space.map(memory, { interfaces: [rig.neighbour] }));
      await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.map(memory, { interfaces: [] }));
      await refused("ERR_IOSPAN_BUSY", () => space.detach(rig.first));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => space.attach(rig.neighbour));
      consistent(space, 2);
      await one.unmap();
      await both.unmap();
      await space.attach(rig.neighbour);
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => space.map(memory, { interfaces: [rig.first] }));
      await space.map(memory, { interfaces: [rig.first, rig.neighbour] });
      consistent(space, 1);
    }),
  ),
];
