import assert from "node:assert/strict";
import { Container, type DmaMemory, type Fd, findDevice, Group, type Machine, SyscallError } from "iospan";
import { errnoName } from "../../src/abi/errno.js";
import type { Ioctl } from "../../src/abi/ioctl.js";
import { dmaMap, dmaUnmap, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../../src/abi/vfio-container.js";
import { type1Info, VFIO_IOMMU_GET_INFO } from "../../src/abi/vfio-container-info.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
} from "../../src/syscalls/mmap-flags.js";
import { granules } from "./granule.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

// What the library relies on, asked of the kernel itself, call by call: vfio_iommu_type1.c of Linux 5.10 to 7.3.

const READ = 1;
const WRITE = 2;
const VADDR = 4;
const UNMAP_ALL = 2;
const AT = 0x40_0000;
const KIB = 1024;
/** Bytes of one range of IOVAs in what GET_INFO says. */
const RANGE_SIZE = 16;

/** Bare hands on one container with the group of `device` in it. */
class Bench implements Disposable {
  readonly machine: Machine;
  readonly container: Container;
  readonly group: Group;
  readonly memory: DmaMemory;
  /** Bytes. */
  readonly page: number;
  readonly #fd: Fd;

  private constructor(machine: Machine, container: Container, group: Group, memory: DmaMemory, fd: Fd) {
    this.machine = machine;
    this.container = container;
    this.group = group;
    this.page = machine.syscalls.pageSize;
    this.memory = memory;
    this.#fd = fd;
  }

  static async open(rig: Rig, device: string): Promise<Bench> {
    const { machine } = rig;
    let fd: Fd | undefined;
    const syscalls = intercepted(machine.syscalls, (call, proceed) => {
      if (call.ioctl?.name === "VFIO_SET_IOMMU") fd = call.fd;
      return proceed();
    });
    const { group: id, iommu } = findDevice(machine, device);
    assert.ok(id !== undefined && iommu !== undefined);
    const group = await Group.open(syscalls, { id, iommu: iommu.name, device });
    const container = await Container.open(syscalls);
    container.attach(group);
    assert.ok(fd !== undefined);
    return new Bench(machine, container, group, granules(rig, 64, { hugePages: "no" }), fd);
  }

  [Symbol.dispose](): void {
    this.container.detach(this.group);
    this.group.close();
    this.container.close();
    this.memory.release();
  }

  /** `ok`, or the name of what the kernel refuses with. */
  answer(call: Ioctl, argument: Uint8Array): string {
    try {
      this.machine.syscalls.ioctl(this.#fd, call, argument);
      return "ok";
    } catch (error) {
      if (error instanceof SyscallError) return errnoName(error.errno);
      throw error;
    }
  }

  map(fields: {
    argsz?: number;
    flags?: number;
    vaddr?: bigint;
    iova?: number | bigint;
    size?: number | bigint;
  }): string {
    const whole = { flags: READ | WRITE, vaddr: this.memory.address, iova: AT, size: this.page, ...fields };
    return this.answer(VFIO_IOMMU_MAP_DMA, dmaMap.encode(whole));
  }

  unmap(fields: { argsz?: number; flags?: number; iova?: number | bigint; size?: number | bigint }): [string, bigint] {
    const bytes = dmaUnmap.encode({ iova: AT, size: this.page, ...fields });
    return [this.answer(VFIO_IOMMU_UNMAP_DMA, bytes), dmaUnmap.decode(bytes).size];
  }
}

const lastPage = ({ page }: Bench): bigint => 2n ** 64n - BigInt(page);

const release = ({ syscalls }: Machine): number[] =>
  syscalls.readFile("/proc/sys/kernel/osrelease").split(/[.-]/).slice(0, 2).map(Number);

function olderThan(machine: Machine, major: number, minor: number): boolean {
  const [has = 0, hasMinor = 0] = release(machine);
  return has < major || (has === major && hasMinor < minor);
}

/** Addresses that wrap: told apart from other nonsense since Linux 6.18. */
const wrapAnswer = (machine: Machine): string => (olderThan(machine, 6, 18) ? "EINVAL" : "EOVERFLOW");

async function onBench(rig: Rig, use: (bench: Bench) => void | Promise<void>, device = rig.first): Promise<void> {
  const before = rig.openFiles();
  {
    using bench = await Bench.open(rig, device);
    await use(bench);
  }
  assert.deepEqual(rig.openFiles(), before);
}

/** How many windows the IOMMU and the device keep for themselves. */
function reservedRegions(machine: Machine, device: string): number {
  const { group } = findDevice(machine, device);
  const text = machine.syscalls.readFile(`/sys/kernel/iommu_groups/${group}/reserved_regions`);
  return text.trim().split("\n").length;
}

/** The process's locked memory in KiB. */
function lockedKib({ syscalls }: Machine): number {
  const [, kib = "0"] = /^VmLck:\s*(\d+) kB$/m.exec(syscalls.readFile("/proc/self/status")) ?? [];
  return Number(kib);
}

const once: Scenario["skip"] = ({ strategy, compatContainer = false }) => {
  if (compatContainer) return "asks VFIO's own container, and an iommufd takes its place";
  return strategy === "mirrored" ? undefined : "asks the kernel, whatever the strategy";
};

export const kernel: readonly Scenario[] = [
  scenario(
    "MAP_DMA refuses what makes no sense, in the kernel's order",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const wrap = wrapAnswer(rig.machine);
        const hole = bench.container.info().ranges[0]?.end;
        assert.ok(hole !== undefined);
        const reserved = hole + 1n;
        const cases: [string, Parameters<Bench["map"]>[0]][] = [
          ["EINVAL", { argsz: 31 }],
          ["EINVAL", { flags: READ | 8 }],
          ["EINVAL", { size: 0 }],
          [wrap, { iova: lastPage(bench), size: 2 * page }],
          [wrap, { vaddr: lastPage(bench), size: 2 * page }],
          ["EINVAL", { iova: lastPage(bench), size: page }],
          ["EINVAL", { flags: 0 }],
          ["EINVAL", { flags: READ | VADDR }],
          ["EINVAL", { iova: AT + 1 }],
          ["EINVAL", { size: page + 1 }],
          ["EINVAL", { vaddr: bench.memory.address + 1n }],
          ["EINVAL", { iova: reserved }],
          ["EINVAL", { iova: reserved - BigInt(page), size: 2 * page }],
          ["EFAULT", { vaddr: 0n }],
          ["ok", { iova: 0 }],
          ["ok", { iova: reserved - BigInt(page) }],
          ["EEXIST", { iova: 0, size: 2 * page }],
          ["EEXIST", { iova: reserved - BigInt(page), size: 2 * page }],
          ["EEXIST", { iova: 0, vaddr: 0n }],
        ];
        for (const [expected, fields] of cases) assert.equal(bench.map(fields), expected, JSON.stringify(fields, text));
      }),
    once,
  ),

  scenario(
    "MAP_DMA pins all of the memory, or maps nothing",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const { syscalls } = rig.machine;
        // Two pages that can only be read, and one that cannot even be read. A file's, since untouched anonymous memory is
        // the shared zero page up to Linux 6.1, which is not counted.
        const file = syscalls.memfd("iospan", 0, 3 * page);
        const address = syscalls.mmap({ length: 3 * page, prot: PROT_READ, flags: MAP_SHARED, fd: file });
        const fixed = { prot: PROT_NONE, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED };
        syscalls.mmap({ ...fixed, address: address + BigInt(2 * page), length: page });
        const available = bench.container.info().available;
        const locked = lockedKib(rig.machine);
        assert.equal(bench.map({ vaddr: address, size: 3 * page, flags: READ }), "EFAULT");
        assert.equal(bench.map({ vaddr: address, size: page, flags: READ | WRITE }), "EFAULT");
        assert.equal(bench.container.info().available, available);
        assert.equal(lockedKib(rig.machine), locked);
        assert.equal(bench.map({ vaddr: address, size: 2 * page, flags: READ }), "ok");
        assert.equal(lockedKib(rig.machine), locked + (2 * page) / KIB);
        assert.deepEqual(bench.unmap({ size: 2 * page }), ["ok", BigInt(2 * page)]);
        assert.equal(lockedKib(rig.machine), locked);
        syscalls.munmap(address, 3 * page);
        syscalls.close(file);
      }),
    once,
  ),

  scenario(
    "UNMAP_DMA removes whole mappings, says how much, and else nothing",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const wrap = wrapAnswer(rig.machine);
        assert.equal(bench.map({ iova: AT, size: 4 * page }), "ok");
        assert.equal(bench.map({ iova: AT + 4 * page, size: page }), "ok");
        const refusals: [string, Parameters<Bench["unmap"]>[0]][] = [
          ["EINVAL", { argsz: 23 }],
          ["EINVAL", { flags: 8 }],
          ["EINVAL", { iova: AT + 1 }],
          ["EINVAL", { size: page - 1 }],
          ["EINVAL", { size: 0 }],
          ["EINVAL", { size: page }],
          ["EINVAL", { iova: AT + page, size: 4 * page }],
          ["EINVAL", { iova: AT - page, size: 3 * page }],
          [wrap, { iova: lastPage(bench), size: 2 * page }],
          ["EINVAL", { flags: UNMAP_ALL, iova: AT, size: 0 }],
        ];
        for (const [expected, fields] of refusals) {
          const [answer, size] = bench.unmap({ ...fields });
          assert.equal(answer, expected, JSON.stringify(fields, text));
          assert.equal(size, BigInt(fields.size ?? page), "a refused call leaves the size alone");
        }
        assert.deepEqual(bench.unmap({ iova: 0x10_0000, size: 7 * page }), ["ok", 0n], "a hole is no error");
        assert.deepEqual(bench.unmap({ iova: AT - page, size: 16 * page }), ["ok", BigInt(5 * page)]);
        assert.deepEqual(bench.unmap({ iova: AT, size: 16 * page }), ["ok", 0n]);
        assert.equal(bench.map({}), "ok");
        const all = bench.unmap({ flags: UNMAP_ALL, iova: 0, size: 0 });
        assert.deepEqual(all, olderThan(rig.machine, 5, 12) ? ["EINVAL", 0n] : ["ok", BigInt(page)]);
      }),
    once,
  ),

  scenario(
    "GET_INFO is asked twice: it says how much it needs, then all of it",
    (rig) =>
      onBench(rig, (bench) => {
        const holes = reservedRegions(rig.machine, rig.first);
        // Before Linux 6.2 capabilities stand without padding, so that the last one's 64-bit fields are not aligned.
        const total = (olderThan(rig.machine, 6, 2) ? 84 : 88) + RANGE_SIZE * (holes + 1);
        const ask = (argsz: number, room = total) => {
          const bytes = type1Info.encode({ argsz }, new Uint8Array(room - type1Info.size));
          return [bench.answer(VFIO_IOMMU_GET_INFO, bytes), type1Info.decode(bytes)] as const;
        };
        assert.equal(ask(15)[0], "EINVAL");
        assert.deepEqual([ask(24)[1].argsz, ask(24)[1].cap_offset], [total, 0]);
        assert.deepEqual([ask(total)[1].argsz, ask(total)[1].cap_offset], [total, 24]);
        const { ranges, available, pageSizes } = bench.container.info();
        assert.equal(ranges.length, holes + 1);
        assert.equal(available, 65535);
        assert.equal(pageSizes & 0xfffn, 0n);
      }),
    once,
  ),

  scenario(
    "a page mapped in two containers is pinned and counted twice, in one container once per mapping",
    (rig) =>
      onBench(rig, (first) =>
        onBench(
          rig,
          (second) => {
            const size = 64 * first.page;
            const before = lockedKib(rig.machine);
            const whole = { vaddr: first.memory.address, size };
            const locked = () => lockedKib(rig.machine) - before;
            assert.equal(first.map(whole), "ok");
            assert.equal(locked(), size / KIB);
            assert.equal(second.map(whole), "ok");
            assert.equal(locked(), (2 * size) / KIB);
            second.unmap({ size });
            assert.equal(locked(), size / KIB);
            assert.equal(first.container.info().available, 65534);
            first.unmap({ size });
            assert.equal(locked(), 0);
          },
          rig.second,
        ),
      ),
    once,
  ),
];

const text = (_: string, value: unknown) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value);
