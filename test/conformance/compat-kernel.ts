import assert from "node:assert/strict";
import type { Machine } from "iospan";
import { VFIO_CHECK_EXTENSION, VFIO_IOMMU_DIRTY_PAGES, VFIO_SET_IOMMU } from "../../src/abi/vfio-container.js";
import { type1Info, VFIO_IOMMU_GET_INFO } from "../../src/abi/vfio-container-info.js";
import { iova } from "../../src/iova.js";
import { AT, type CompatBench, onBench, onOpenDevice, READ } from "./compat-bench.js";
import { refused } from "./expect.js";
import { type Scenario, scenario } from "./rig.js";

// What the library relies on where an iommufd is the container, asked of the kernel itself: drivers/vfio/group.c and
// drivers/iommu/iommufd/vfio_compat.c.

const VADDR = 4;
const UNMAP_ALL = 2;
const KIB = 1024;
/** Of VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU. */
const [TYPE1, TYPE1_V2, COHERENT, UPDATE_VADDR] = [1, 3, 4, 10];
/** Less a page, it is the bitmap of every size that pages can be made of. */
const ALL_SIZES = 2n ** 64n;

/** The process's pinned memory in KiB, counted or not. */
function pinnedKib({ syscalls }: Machine): number {
  const [, kib = "0"] = /^VmPin:\s*(\d+) kB$/m.exec(syscalls.readFile("/proc/self/status")) ?? [];
  return Number(kib);
}

const once: Scenario["skip"] = ({ strategy, compatContainer = false }) => {
  if (!compatContainer) return "the container is VFIO's own";
  return strategy === "mirrored" ? undefined : "asks the kernel, whatever the strategy";
};

const text = (_: string, value: unknown) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value);

export const compatKernel: readonly Scenario[] = [
  scenario(
    "an iommufd has no address space before its first group, and takes SET_IOMMU as often as one likes",
    (rig) =>
      onBench(rig, (bench) => {
        const extension = (number: number) => bench.answer(VFIO_CHECK_EXTENSION, number);
        assert.equal(bench.container.kind, "iommufd");
        assert.deepEqual([TYPE1, TYPE1_V2, COHERENT, UPDATE_VADDR].map(extension), [1, 1, "ENODEV", 0]);
        assert.equal(bench.answer(VFIO_SET_IOMMU, TYPE1_V2), "ENODEV");
        assert.equal(bench.answer(VFIO_SET_IOMMU, 99), "EINVAL");
        assert.equal(bench.map({}), "ENODEV");
        assert.equal(bench.unmap({})[0], "ENODEV");
        assert.equal(bench.answer(VFIO_IOMMU_GET_INFO, type1Info.encode()), "ENODEV");
        bench.container.attach(bench.group);
        assert.deepEqual([COHERENT, UPDATE_VADDR].map(extension), [1, 0]);
        for (const type of [TYPE1_V2, TYPE1, TYPE1_V2]) assert.equal(bench.answer(VFIO_SET_IOMMU, type), 0);
        assert.equal(bench.answer(VFIO_SET_IOMMU, 99), "EINVAL");
        assert.equal(bench.answer(VFIO_IOMMU_DIRTY_PAGES, new Uint8Array(8)), "ENOTTY");
      }),
    once,
  ),

  scenario(
    "an iommufd's MAP_DMA refuses what makes no sense, in an order of its own",
    (rig) =>
      onOpenDevice(rig, (bench) => {
        const { page } = bench;
        const hole = bench.container.info().ranges[0]?.end;
        assert.ok(hole !== undefined);
        const reserved = hole + 1n;
        const lastPage = 2n ** 64n - BigInt(page);
        const cases: [string | number, Parameters<CompatBench["map"]>[0]][] = [
          ["EINVAL", { argsz: 31 }],
          ["EINVAL", { flags: READ | 8 }],
          ["EINVAL", { flags: VADDR }],
          ["EINVAL", { size: 0 }],
          ["EOVERFLOW", { iova: lastPage, size: 2 * page }],
          ["EOVERFLOW", { vaddr: lastPage, size: 2 * page }],
          ["EINVAL", { iova: lastPage }],
          ["EINVAL", { iova: AT + 1 }],
          ["EINVAL", { size: page + 1 }],
          ["EINVAL", { vaddr: bench.memory.address + 1n }],
          ["EINVAL", { iova: reserved }],
          ["EINVAL", { iova: reserved - BigInt(page), size: 2 * page }],
          ["EFAULT", { vaddr: 0n }],
          ["EINVAL", { flags: 0 }],
          [0, { iova: 0 }],
          [0, { iova: reserved - BigInt(page) }],
          ["EEXIST", { iova: 0, size: 2 * page }],
          ["EEXIST", { iova: 0, vaddr: 0n }],
          // What is ruled out comes before what is mapped, other than in VFIO's own container.
          ["EINVAL", { iova: reserved - BigInt(page), size: 2 * page }],
        ];
        for (const [expected, fields] of cases) assert.equal(bench.map(fields), expected, JSON.stringify(fields, text));
      }),
    once,
  ),

  scenario(
    "an iommufd's UNMAP_DMA goes mapping by mapping, and says how far it came",
    (rig) =>
      onOpenDevice(rig, (bench) => {
        const { page } = bench;
        const bytes = BigInt(page);
        assert.equal(bench.map({ size: 4 * page }), 0);
        assert.equal(bench.map({ iova: AT + 4 * page, size: 2 * page }), 0);
        const cases: [string | number, bigint, Parameters<CompatBench["unmap"]>[0]][] = [
          ["EINVAL", bytes, { argsz: 23 }],
          ["EINVAL", bytes, { flags: 1 }],
          ["EINVAL", bytes, { flags: 4 }],
          ["EINVAL", bytes, { flags: UNMAP_ALL, iova: 0 }],
          ["EINVAL", 0n, { size: 0 }],
          ["EOVERFLOW", 0n, { iova: 2n ** 64n - bytes, size: 2 * page }],
          ["ENOENT", 0n, { size: page }],
          ["ENOENT", 0n, { iova: AT + page, size: 3 * page }],
          ["ENOENT", 0n, { iova: AT - page, size: 3 * page }],
          [0, 0n, { iova: 0x10_0000, size: 7 * page }],
          // The first mapping goes before the second turns out to be cut.
          ["ENOENT", 4n * bytes, { size: 5 * page }],
          [0, 0n, { size: 4 * page }],
          // No multiple of pages, but it covers the mapping.
          [0, 2n * bytes, { iova: AT + 4 * page, size: 2 * page + 1 }],
        ];
        for (const [expected, size, fields] of cases) {
          assert.deepEqual(bench.unmap(fields), [expected, size], JSON.stringify(fields, text));
        }
        assert.equal(bench.map({}), 0);
        assert.deepEqual(bench.unmap({ flags: UNMAP_ALL, iova: 0, size: 0 }), [0, bytes]);
      }),
    once,
  ),

  scenario(
    "a range that cuts a mapping is not unmapped at all, in whichever container",
    (rig) =>
      onOpenDevice(rig, async ({ container, memory, page }) => {
        const mapping = { address: memory.address, access: "read-write", size: 4 * page } as const;
        container.map({ ...mapping, iova: iova(AT) });
        container.map({ ...mapping, iova: iova(AT + 4 * page) });
        for (const size of [page, 5 * page]) {
          await refused("ERR_IOSPAN_UNMAP_REFUSED", () => container.unmap(iova(AT), size));
        }
        await refused("ERR_IOSPAN_UNMAP_REFUSED", () => container.unmapAsync(iova(AT + 2 * page), 6 * page));
        assert.equal(container.isWhole?.(iova(AT), BigInt(8 * page)), true);
        assert.equal(container.isWhole?.(iova(AT), BigInt(9 * page)), false);
        assert.equal(container.unmap(iova(AT - page), 10 * page), 8 * page);
        assert.equal(container.isMapped(iova(AT), BigInt(8 * page)), false);
      }),
    once,
  ),

  scenario(
    "an iommufd tells what its IOMMUs allow once a device is open",
    (rig) =>
      onBench(rig, async (bench) => {
        bench.container.attach(bench.group);
        const everything = bench.container.info();
        assert.deepEqual(everything.ranges, [{ start: 0n, end: 2n ** 64n - 1n }]);
        assert.equal(everything.pageSizes, ALL_SIZES - BigInt(bench.page));
        assert.equal(everything.available, undefined);
        await bench.openDevice();
        const { ranges, pageSizes } = bench.container.info();
        assert.ok(ranges.length > 1 && (ranges.at(-1)?.end ?? 0n) < 2n ** 64n - 1n);
        assert.equal(pageSizes & -pageSizes, BigInt(bench.page));
        // Two capabilities, of 16 bytes and of 16 and a range's 16 for each.
        const total = type1Info.size + 16 + 16 + 16 * ranges.length;
        const ask = (argsz: number) => {
          const bytes = type1Info.encode({ argsz }, new Uint8Array(total - type1Info.size));
          const answer = bench.answer(VFIO_IOMMU_GET_INFO, bytes);
          return [answer, type1Info.decode(bytes).argsz, type1Info.decode(bytes).cap_offset];
        };
        assert.deepEqual(ask(15), ["EINVAL", 15, 0]);
        assert.deepEqual(ask(24), [0, total, 0]);
        assert.deepEqual(ask(total), [0, total, 24]);
      }),
    once,
  ),

  scenario(
    "what was mapped before a device is open is looked at when it is opened, which then changes nothing",
    (rig) =>
      onBench(rig, async (bench) => {
        const { container, memory, page } = bench;
        container.attach(bench.group);
        const pinned = pinnedKib(rig.machine);
        assert.equal(container.isMapped(iova(AT), BigInt(page)), false);
        container.map({ iova: iova(AT), address: memory.address, size: page, access: "read-write" });
        assert.equal(container.isMapped(iova(AT), BigInt(page)), true);
        const wrong = [
          ["EFAULT", { vaddr: BigInt(page) }],
          ["EADDRINUSE", { iova: 2n ** 60n }],
        ] as const;
        for (const [errno, fields] of wrong) {
          assert.equal(bench.map({ iova: 0x80_0000, ...fields }), 0);
          const error = await refused("ERR_IOSPAN_ATTACH_REFUSED", () => bench.openDevice());
          assert.equal(error.errnoName, errno);
          assert.equal(pinnedKib(rig.machine), pinned);
          assert.deepEqual(bench.unmap({ iova: 0x80_0000, ...fields }), [0, BigInt(page)]);
        }
        await bench.openDevice();
        assert.equal(pinnedKib(rig.machine), pinned + page / KIB);
        assert.equal(container.isMapped(iova(AT), BigInt(page)), true);
        await refused("ERR_IOSPAN_BUSY", () => container.detach(bench.group));
      }),
    once,
  ),

  scenario(
    "a page mapped in two containers that are iommufds is pinned twice",
    (rig) =>
      onOpenDevice(rig, (first) =>
        onOpenDevice(
          rig,
          (second) => {
            const size = 64 * first.page;
            const before = pinnedKib(rig.machine);
            const pinned = () => pinnedKib(rig.machine) - before;
            const whole = { vaddr: first.memory.address, size };
            assert.equal(first.map(whole), 0);
            assert.equal(pinned(), size / KIB);
            assert.equal(second.map(whole), 0);
            assert.equal(pinned(), (2 * size) / KIB);
            assert.deepEqual(second.unmap({ size }), [0, BigInt(size)]);
            assert.equal(pinned(), size / KIB);
            assert.deepEqual(first.unmap({ size }), [0, BigInt(size)]);
            assert.equal(pinned(), 0);
          },
          rig.second,
        ),
      ),
    once,
  ),
];
