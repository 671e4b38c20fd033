import assert from "node:assert/strict";
import { findDevice } from "iospan";
import { IOMMU_IOAS_ALLOC, IOMMU_IOAS_UNMAP, ioasAlloc, ioasUnmap } from "../../src/abi/iommufd-ioas.js";
import { VFIO_CHECK_EXTENSION, VFIO_SET_IOMMU } from "../../src/abi/vfio-container.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { AT, FIXED, IommufdBench, READABLE } from "./iommufd-bench.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

// What the library relies on, asked of /dev/iommu itself, call by call: drivers/iommu/iommufd of Linux 7.3.

const ALL = 2n ** 64n - 1n;
const HIGHEST = 2n ** 64n - 1n;
/** The software MSI window of Arm SMMUs (drivers/iommu/arm/arm-smmu-v3, MSI_IOVA_BASE). */
const MSI_WINDOW = 0x800_0000n;
const NO_SUCH_ID = 1234;
const MIB = 2n ** 20n;

async function onBench(rig: Rig, use: (bench: IommufdBench) => void | Promise<void>): Promise<void> {
  const before = rig.openFiles();
  {
    using bench = new IommufdBench(rig);
    await use(bench);
  }
  assert.deepEqual(rig.openFiles(), before);
}

/** A number, and not a refusal. */
function given(answer: number | string): number {
  assert.ok(typeof answer === "number", `refused: ${answer}`);
  return answer;
}

const once: Scenario["skip"] = (rig) =>
  rig.strategy === "iommufd" ? undefined : "asks /dev/iommu, whatever the strategy";
const overTwo: Scenario["skip"] = (rig) => once(rig) ?? (rig.oneIommu ? "takes two IOMMUs" : undefined);

export const iommufdKernel: readonly Scenario[] = [
  scenario(
    "numbers its objects from 1, the lowest free one first, and tells what it does not know",
    (rig) =>
      onBench(rig, (bench) => {
        assert.deepEqual([bench.ioas(), bench.ioas(), bench.ioas()], [1, 2, 3]);
        assert.equal(bench.destroy(2), "ok");
        assert.equal(bench.destroy(2), "ENOENT");
        assert.equal(bench.ioas(), 2);
        assert.equal(bench.answer(IOMMU_IOAS_ALLOC, ioasAlloc.encode({ size: ioasAlloc.size - 1 })), "EINVAL");
        assert.equal(bench.answer(IOMMU_IOAS_ALLOC, ioasAlloc.encode({ flags: 1 })), "EOPNOTSUPP");
        const longer = (last: number) => ioasAlloc.encode({}, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, last));
        assert.equal(bench.answer(IOMMU_IOAS_ALLOC, longer(0)), "ok");
        assert.equal(bench.answer(IOMMU_IOAS_ALLOC, longer(1)), "E2BIG");
        assert.equal(bench.answer({ ...IOMMU_IOAS_ALLOC, request: 0x3bff }, ioasAlloc.encode()), "ENOTTY");
        assert.equal(bench.answer({ ...IOMMU_IOAS_UNMAP, request: 0x3b80 + 0x7f }, ioasUnmap.encode()), "ENOTTY");
      }),
    once,
  ),

  scenario(
    "without a device an IOAS takes every address, and looks at no memory",
    (rig) =>
      onBench(rig, (bench) => {
        const ioas = bench.ioas();
        assert.deepEqual(bench.ranges(ioas, 0).slice(0, 2), ["EMSGSIZE", 1]);
        assert.deepEqual(bench.ranges(ioas), ["ok", 1, [[0n, HIGHEST]], 1n]);
        assert.equal(bench.map(ioas, { user_va: bench.page }), "ok");
        assert.equal(bench.map(ioas, { iova: MSI_WINDOW }), "ok");
        assert.equal(bench.map(ioas, { iova: AT + 3n * bench.page + 1n, length: 5n }), "ok");
        assert.equal(bench.map(ioas, { iova: AT }), "EEXIST");
        assert.equal(bench.destroy(ioas), "ok");
      }),
    once,
  ),

  scenario(
    "chooses the lowest free address that is aligned to the mapping, and never 0",
    (rig) =>
      onBench(rig, (bench) => {
        const ioas = bench.ioas();
        const { page } = bench;
        assert.equal(bench.mapAnywhere(ioas, {}), page);
        assert.equal(bench.mapAnywhere(ioas, {}), 2n * page);
        assert.equal(bench.allow(ioas, [[16n * MIB, 32n * MIB - 1n]]), "ok");
        assert.equal(bench.mapAnywhere(ioas, { user_va: 32n * MIB, length: 2n * MIB }), 16n * MIB);
        const tight = { flags: READABLE, user_va: 32n * MIB, length: 32n * MIB, iova: 0n };
        assert.equal(bench.map(ioas, tight), "ENOSPC");
        assert.equal(bench.allow(ioas, []), "ok");
        assert.equal(bench.map(ioas, tight), "ok");
      }),
    once,
  ),

  scenario(
    "IOAS_MAP refuses what makes no sense, in the kernel's order",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const ioas = bench.ioas();
        const device = bench.device(rig.first);
        given(bench.bind(device));
        given(bench.attach(device, ioas));
        const cases: readonly [string, Parameters<IommufdBench["map"]>[1]][] = [
          ["EOPNOTSUPP", { flags: 8 }],
          ["EOPNOTSUPP", { __reserved: 1 }],
          ["EOVERFLOW", { length: ALL }],
          ["EINVAL", { flags: FIXED }],
          ["ENOENT", { ioas_id: NO_SUCH_ID }],
          ["EOVERFLOW", { user_va: HIGHEST - page + 1n, length: 2n * page }],
          ["EINVAL", { length: 0 }],
          ["EINVAL", { length: page + 1n }],
          ["EINVAL", { iova: AT + 1n }],
          ["EOVERFLOW", { iova: HIGHEST - page + 1n, length: 2n * page }],
          ["EINVAL", { iova: MSI_WINDOW }],
          ["EINVAL", { iova: MSI_WINDOW - page, length: 2n * page }],
          ["EFAULT", { user_va: 0n }],
          ["ok", { iova: 0 }],
          ["ok", { iova: MSI_WINDOW - page }],
          ["EEXIST", { iova: 0 }],
          ["EEXIST", { iova: 0, user_va: 0n }],
          ["EINVAL", { iova: MSI_WINDOW - page, length: 2n * page }],
        ];
        for (const [expected, fields] of cases) assert.equal(bench.map(ioas, fields), expected, text(fields));
        const [, count, ranges, alignment] = bench.ranges(ioas);
        assert.equal(count, ranges.length);
        assert.equal(alignment, page);
        assert.ok(ranges.some(([, last]) => last === MSI_WINDOW - 1n));
      }),
    once,
  ),

  scenario(
    "IOAS_UNMAP refuses an empty range, and one that cuts a mapping after it has removed those before",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const ioas = bench.ioas();
        assert.deepEqual(bench.unmap(ioas, 0n, ALL), ["ok", 0n]);
        assert.equal(bench.map(ioas, { iova: AT, length: 4n * page }), "ok");
        assert.equal(bench.map(ioas, { iova: AT + 8n * page, length: 4n * page }), "ok");
        assert.equal(bench.unmap(NO_SUCH_ID, AT, page)[0], "ENOENT");
        assert.equal(bench.unmap(ioas, AT, 0n)[0], "EINVAL");
        assert.equal(bench.unmap(ioas, AT, ALL)[0], "EOVERFLOW");
        assert.equal(bench.unmap(ioas, HIGHEST - page + 1n, 2n * page)[0], "EOVERFLOW");
        assert.equal(bench.unmap(ioas, AT + 5n * page, page)[0], "ENOENT");
        assert.equal(bench.unmap(ioas, AT, page)[0], "ENOENT");
        assert.equal(bench.unmap(ioas, AT, 10n * page)[0], "ENOENT");
        assert.equal(bench.map(ioas, { iova: AT, length: page }), "ok", "the first one is gone");
        assert.equal(bench.map(ioas, { iova: AT + 8n * page, length: page }), "EEXIST", "the second one is there");
        assert.deepEqual(bench.unmap(ioas, AT - page, 32n * page), ["ok", 5n * page]);
        assert.equal(bench.map(ioas, {}), "ok");
        assert.deepEqual(bench.unmap(ioas, 0n, ALL), ["ok", page]);
      }),
    once,
  ),

  scenario(
    "IOAS_MAP_FILE takes memory of a memfd, whole pages of it, and of no other file",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const { syscalls } = rig.machine;
        const memfd = syscalls.memfd("iospan", 0, Number(4n * page));
        const null_ = syscalls.open("/dev/null", O_RDWR);
        const ioas = bench.ioas();
        const device = bench.device(rig.first);
        given(bench.bind(device));
        given(bench.attach(device, ioas));
        assert.equal(bench.mapFile(ioas, { fd: memfd, length: 0n }), "EINVAL");
        assert.equal(bench.mapFile(ioas, { fd: 999 }), "EBADF");
        assert.equal(bench.mapFile(ioas, { fd: null_ }), "EINVAL");
        assert.equal(bench.mapFile(ioas, { fd: memfd, start: 4n * page }), "EINVAL", "beyond the end");
        assert.equal(bench.mapFile(ioas, { fd: memfd, start: page, length: 2n * page }), "ok");
        assert.equal(bench.mapFile(ioas, { fd: memfd }), "EEXIST");
        syscalls.close(memfd);
        syscalls.close(null_);
        assert.deepEqual(bench.unmap(ioas, AT, 2n * page), ["ok", 2n * page]);
      }),
    once,
  ),

  scenario(
    "IOAS_COPY shares what is mapped, in part too, and no more than was allowed",
    (rig) =>
      onBench(rig, (bench) => {
        const { page } = bench;
        const [from, to] = [bench.ioas(), bench.ioas()];
        assert.equal(bench.map(from, { length: 4n * page }), "ok");
        assert.equal(bench.map(from, { iova: AT + 4n * page, length: page, flags: FIXED | READABLE }), "ok");
        const copy = { src_ioas_id: from, dst_ioas_id: to };
        assert.equal(bench.copy({ ...copy, src_iova: AT + page, dst_iova: 0, length: 2n * page }), "ok");
        assert.equal(bench.copy({ ...copy, src_iova: AT, dst_iova: page }), "EEXIST");
        assert.equal(bench.copy({ ...copy, src_iova: AT + 6n * page, dst_iova: AT }), "ENOENT");
        assert.equal(bench.copy({ ...copy, src_iova: AT + 4n * page, dst_iova: AT, length: 2n * page }), "ENOENT");
        assert.equal(bench.copy({ ...copy, src_iova: AT + 4n * page, dst_iova: AT }), "EPERM");
        const readable = { ...copy, flags: FIXED | READABLE };
        assert.equal(bench.copy({ ...readable, src_iova: AT, dst_iova: AT, length: 5n * page }), "ok");
        assert.deepEqual(bench.unmap(to, 0n, ALL), ["ok", 7n * page]);
      }),
    once,
  ),

  scenario(
    "ALLOW_IOVAS takes ranges that do not overlap, nor what a device keeps for itself",
    (rig) =>
      onBench(rig, (bench) => {
        const ioas = bench.ioas();
        const device = bench.device(rig.first);
        given(bench.bind(device));
        assert.equal(bench.allow(ioas, [[AT, AT]]), "EINVAL");
        assert.equal(
          bench.allow(ioas, [
            [AT, AT + MIB],
            [AT + MIB, AT + 2n * MIB],
          ]),
          "EINVAL",
        );
        assert.equal(bench.allow(ioas, [[MSI_WINDOW, MSI_WINDOW + MIB - 1n]]), "ok");
        assert.equal(bench.attach(device, ioas), "EADDRINUSE");
        assert.equal(bench.allow(ioas, []), "ok");
        given(bench.attach(device, ioas));
        assert.equal(bench.allow(ioas, [[MSI_WINDOW - MIB, MSI_WINDOW + MIB - 1n]]), "EADDRINUSE");
      }),
    once,
  ),

  scenario(
    "a device is bound once, and nothing else can be done with it before",
    (rig) =>
      onBench(rig, (bench) => {
        const { syscalls } = rig.machine;
        const ioas = bench.ioas();
        const device = bench.device(rig.first);
        assert.equal(bench.attach(device, ioas), "EINVAL");
        assert.equal(bench.bind(device, { argsz: 15 }), "EINVAL");
        assert.equal(bench.bind(device, { iommufd: -1 }), "EINVAL");
        assert.equal(bench.bind(device, { flags: 2 }), "EINVAL");
        assert.equal(bench.bind(device, { iommufd: 999 }), "EBADF");
        const null_ = syscalls.open("/dev/null", O_RDWR);
        assert.equal(bench.bind(device, { iommufd: null_ }), "EBADFD");
        syscalls.close(null_);
        const { group } = findDevice(rig.machine, rig.first);
        const groupFd = syscalls.open(`/dev/vfio/${group}`, O_RDWR);
        assert.equal(bench.bind(device), "EBUSY");
        syscalls.close(groupFd);
        const id = given(bench.bind(device));
        assert.equal(bench.bind(device), "EINVAL");
        assert.throws(() => syscalls.open(`/dev/vfio/${group}`, O_RDWR), /EBUSY/);
        assert.equal(bench.bind(bench.device(rig.first)), "EINVAL");
        assert.equal(bench.detach(device), "ok");
        assert.equal(bench.attach(device, NO_SUCH_ID), "ENOENT");
        assert.equal(bench.attach(device, id), "EINVAL");
        assert.equal(bench.attach(device, ioas, { flags: 2 }), "EINVAL");
        assert.equal(bench.destroy(id), "EBUSY");
      }),
    once,
  ),

  scenario(
    "one IOAS has a page table for each IOMMU, and the devices behind it share that",
    (rig) =>
      onBench(rig, (bench) => {
        const [ioas, other] = [bench.ioas(), bench.ioas()];
        const [first, second, neighbour] = [rig.first, rig.second, rig.neighbour].map((name) => bench.device(name));
        assert.ok(first !== undefined && second !== undefined && neighbour !== undefined);
        for (const device of [first, second, neighbour]) given(bench.bind(device));
        assert.equal(bench.map(ioas), "ok");
        const table = given(bench.attach(first, ioas));
        assert.notEqual(bench.attach(second, ioas), table);
        assert.equal(bench.attach(neighbour, ioas), table);
        assert.equal(bench.attach(first, ioas), table);
        assert.equal(bench.destroy(ioas), "EBUSY");
        assert.equal(bench.destroy(table), "EBUSY");
        const own = given(bench.attach(first, other));
        assert.notEqual(own, table);
        assert.equal(bench.detach(first), "ok");
        assert.equal(bench.destroy(own), "ENOENT", "the kernel's own page tables go with their last device");
        assert.equal(bench.destroy(other), "ok");
      }),
    overTwo,
  ),

  scenario(
    "an attach fails, and changes nothing, where a mapping cannot be had",
    (rig) =>
      onBench(rig, (bench) => {
        const device = bench.device(rig.first);
        given(bench.bind(device));
        const [bad, reserved, odd, good] = [bench.ioas(), bench.ioas(), bench.ioas(), bench.ioas()];
        assert.equal(bench.map(bad, { user_va: bench.page }), "ok");
        assert.equal(bench.map(reserved, { iova: MSI_WINDOW }), "ok");
        assert.equal(bench.map(odd, { iova: AT + 1n, user_va: bench.memory.address + 1n, length: 8n }), "ok");
        assert.equal(bench.attach(device, bad), "EFAULT");
        assert.equal(bench.attach(device, reserved), "EADDRINUSE");
        assert.equal(bench.attach(device, odd), "EADDRINUSE");
        const table = given(bench.attach(device, good));
        assert.equal(bench.attach(device, bad), "EFAULT");
        assert.equal(bench.attach(device, good), table, "the old attachment stays");
      }),
    once,
  ),

  scenario(
    "a page table that was made for one IOMMU takes its devices and no others",
    (rig) =>
      onBench(rig, (bench) => {
        const ioas = bench.ioas();
        const [first, second, neighbour] = [rig.first, rig.second, rig.neighbour].map((name) => bench.device(name));
        assert.ok(first !== undefined && second !== undefined && neighbour !== undefined);
        const id = given(bench.bind(first));
        for (const device of [second, neighbour]) given(bench.bind(device));
        assert.equal(bench.table({ dev_id: NO_SUCH_ID, pt_id: ioas }), "ENOENT");
        assert.equal(bench.table({ dev_id: id, pt_id: NO_SUCH_ID }), "EINVAL");
        assert.equal(bench.table({ dev_id: id, pt_id: ioas, flags: 1 << 10 }), "EOPNOTSUPP");
        assert.equal(bench.table({ dev_id: id, pt_id: ioas, __reserved: 1 }), "EOPNOTSUPP");
        assert.equal(bench.table({ dev_id: id, pt_id: ioas, data_len: 8 }), "EINVAL");
        const table = given(bench.table({ dev_id: id, pt_id: ioas }));
        assert.equal(bench.attach(first, table), table);
        assert.equal(bench.attach(neighbour, table), table);
        assert.equal(bench.attach(second, table), "EINVAL");
        const automatic = given(bench.attach(first, ioas));
        assert.notEqual(automatic, table, "the kernel never takes one that was made by hand");
        assert.equal(bench.destroy(table), "EBUSY");
        assert.equal(bench.detach(neighbour), "ok");
        assert.equal(bench.destroy(table), "ok");
      }),
    overTwo,
  ),

  scenario(
    "VFIO's container calls of an iommufd have nothing to work on until there is an address space for them",
    (rig) =>
      onBench(rig, (bench) => {
        const [type1, coherent, updateVaddr] = [1, 4, 10];
        assert.equal(bench.answer(VFIO_SET_IOMMU, 3), "ENODEV");
        assert.equal(bench.answer(VFIO_CHECK_EXTENSION, coherent), "ENODEV");
        assert.equal(rig.machine.syscalls.ioctl(bench.fd, VFIO_CHECK_EXTENSION, type1), 1);
        assert.equal(rig.machine.syscalls.ioctl(bench.fd, VFIO_CHECK_EXTENSION, updateVaddr), 0);
      }),
    once,
  ),
];

const text = (fields: object | undefined) =>
  JSON.stringify(fields, (_, value) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value));
