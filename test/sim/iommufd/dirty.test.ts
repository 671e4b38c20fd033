import { describe, expect, it } from "vitest";
import {
  hwptAlloc,
  hwptGetDirtyBitmap,
  hwptSetDirtyTracking,
  IOMMU_HWPT,
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_HWPT_SET_DIRTY_TRACKING,
} from "../../../src/abi/iommufd-hwpt.js";
import { machineOneDescription } from "../../../src/sim/linux/machine-one.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE } from "../program.js";
import { A, B, FIXED_IOVA, type IommufdProgram, machine, READABLE } from "./iommufd-program.js";

const { ALLOC_NEST_PARENT, ALLOC_DIRTY_TRACKING, FAULT_ID_VALID, ALLOC_PASID } = IOMMU_HWPT;
const LAST = 2n ** 64n - 1n;
const IOVA = 0x40000n;

/** The first SMMU can mark pages, the second one has no stage 1. */
function marking(options = {}): IommufdProgram {
  const [first, second] = machineOneDescription().iommus;
  return machine({
    iommus: [
      { ...first!, httu: true },
      { ...second!, httu: true, stage: 2 },
    ],
    ...options,
  });
}

/** A device in a page table that tells which pages were written to, with 8 pages mapped. */
function tracked(options = {}) {
  const program = marking(options);
  const iommufd = program.iommufd();
  const ioas = program.ioas(iommufd);
  const { cdev, id } = program.bound(A, iommufd);
  const hwpt = program.hwpt(iommufd, id, ioas, ALLOC_DIRTY_TRACKING);
  program.attach(cdev, hwpt);
  const va = program.memory(8 * PAGE);
  program.ioasMap(iommufd, ioas, { va, iova: IOVA, length: 8 * PAGE });
  return { program, iommufd, ioas, hwpt, id, cdev, va, edu: program.edu(cdev) };
}

type Tracked = ReturnType<typeof tracked>;

function setTracking({ program, iommufd, hwpt }: Tracked, fields = {}) {
  const bytes = hwptSetDirtyTracking.encode({ hwpt_id: hwpt, flags: 1, ...fields });
  return outcome(() => program.kernel.ioctl(iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, bytes));
}

function getBitmap({ program, iommufd, hwpt }: Tracked, fields = {}) {
  const room = program.memory(PAGE);
  const request = { hwpt_id: hwpt, iova: IOVA, length: 8 * PAGE, page_size: PAGE, data: room, ...fields };
  const bytes = hwptGetDirtyBitmap.encode(request);
  const answer = outcome(() => program.kernel.ioctl(iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, bytes));
  const [bits] = program.bytes(room, PAGE);
  program.kernel.munmap(room, PAGE);
  return answer === 0 ? bits : answer;
}

const NO_CLEAR = { flags: 1 };

describe("IOMMU_HWPT_ALLOC with flags", () => {
  const table = (program: IommufdProgram, device: string, flags: number) => {
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const { id } = program.bound(device, iommufd);
    return outcome(() => program.hwpt(iommufd, id, ioas, flags));
  };

  it.each([
    ["nothing", 0, 3],
    ["PASID", ALLOC_PASID, 3],
    ["dirty tracking", ALLOC_DIRTY_TRACKING, 3],
    ["both", ALLOC_DIRTY_TRACKING | ALLOC_PASID, 3],
    ["nesting, which takes both stages", ALLOC_NEST_PARENT, "EOPNOTSUPP"],
    ["nesting with dirty tracking", ALLOC_NEST_PARENT | ALLOC_DIRTY_TRACKING, "EOPNOTSUPP"],
    ["nesting with PASID", ALLOC_NEST_PARENT | ALLOC_PASID, "EOPNOTSUPP"],
    ["nesting with faults", ALLOC_NEST_PARENT | FAULT_ID_VALID, "EOPNOTSUPP"],
    ["a queue of faults that is none", FAULT_ID_VALID, "ENOENT"],
    ["a flag that is none", 1 << 4, "EOPNOTSUPP"],
  ])("%s", (_, flags, expected) => {
    expect(table(marking(), A, flags)).toBe(expected);
  });

  it("has neither PASID nor dirty tracking without stage 1", () => {
    expect(table(marking(), B, ALLOC_PASID)).toBe("EOPNOTSUPP");
    expect(table(marking(), B, ALLOC_DIRTY_TRACKING)).toBe("EOPNOTSUPP");
    expect(table(marking(), B, 0)).toBe(3);
  });

  it("has no dirty tracking where the SMMU does not mark pages, as QEMU's does not", () => {
    expect(table(machine(), A, ALLOC_DIRTY_TRACKING)).toBe("EOPNOTSUPP");
    expect(table(machine(), A, ALLOC_PASID)).toBe(3);
  });

  it("leaves no page table behind that it refused", () => {
    const program = marking();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const { id } = program.bound(A, iommufd);
    expect(outcome(() => program.hwpt(iommufd, id, ioas, FAULT_ID_VALID))).toBe("ENOENT");
    expect(program.kernel.iommufds[0]?.ioases[0]?.hwpts).toEqual([]);
    expect(program.hwpt(iommufd, id, ioas)).toBe(3);
  });

  it("checks data before devices, and has no use for any", () => {
    const program = marking();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const { id } = program.bound(A, iommufd);
    const alloc = (fields: Parameters<typeof hwptAlloc.encode>[0]) =>
      outcome(() => program.kernel.ioctl(iommufd, IOMMU_HWPT_ALLOC, hwptAlloc.encode({ pt_id: ioas, ...fields })));
    expect(alloc({ dev_id: 99, data_type: 2 })).toBe("EINVAL");
    expect(alloc({ dev_id: 99, data_len: 16 })).toBe("EINVAL");
    expect(alloc({ dev_id: 99, data_type: 2, data_len: 16 })).toBe("ENOENT");
    expect(alloc({ dev_id: id, data_type: 2, data_len: 16 })).toBe("EOPNOTSUPP");
    expect(alloc({ dev_id: id, __reserved: 1 })).toBe("EOPNOTSUPP");
  });
});

describe("dirty tracking", () => {
  it("finds what was written since it began, and since it was last asked", () => {
    const all = tracked();
    // What may be written to counts as written to at first.
    expect(getBitmap(all, NO_CLEAR)).toBe(0xff);
    expect(setTracking(all)).toBe(0);
    expect(getBitmap(all)).toBe(0);
    all.edu.store(IOVA + 0x1000n, 64);
    all.edu.store(IOVA + 0x5fe0n, 64);
    all.edu.fetch(IOVA + 0x7000n, 64);
    expect(getBitmap(all, NO_CLEAR)).toBe(0b0110_0010);
    expect(getBitmap(all)).toBe(0b0110_0010);
    expect(getBitmap(all)).toBe(0);
    all.edu.store(IOVA + 0x7000n, 64);
    expect(getBitmap(all)).toBe(0b1000_0000);
    expect(all.program.kernel.log.join()).not.toContain("F_PERMISSION");
  });

  it("loses writes that the TLB lets through after a question, as Linux does not invalidate it", () => {
    const all = tracked();
    setTracking(all);
    all.edu.store(IOVA, 64);
    expect(getBitmap(all)).toBe(1);
    all.edu.store(IOVA, 64);
    expect(getBitmap(all)).toBe(0);
    // Moved away and back, the device begins with an empty TLB.
    const { program, cdev, iommufd, hwpt } = all;
    program.attach(cdev, program.ioas(iommufd));
    program.attach(cdev, hwpt);
    all.edu.store(IOVA, 64);
    expect(getBitmap(all)).toBe(1);
  });

  it("does not keep a device from what it may do", () => {
    const all = tracked();
    setTracking(all);
    const bytes = all.program.bytes(all.va, 8 * PAGE).fill(0x66);
    all.edu.fetch(IOVA, 64);
    all.edu.store(IOVA + 0x3000n, 64);
    bytes.fill(0);
    all.edu.store(IOVA + 0x3000n, 64);
    expect([...bytes.subarray(0x3000, 0x3002)]).toEqual([0x66, 0x66]);
    const readOnly = FIXED_IOVA | READABLE;
    all.program.ioasMap(all.iommufd, all.ioas, { va: all.va, iova: 0x80000, flags: readOnly });
    all.edu.store(0x80000n, 64);
    expect(all.program.kernel.log.join()).toContain("F_PERMISSION");
    expect(getBitmap(all, { iova: 0x80000, length: PAGE })).toBe(0);
    const [{ mappings } = { mappings: [] }] = all.program.kernel.iommufds[0]!.ioases[0]!.hwpts;
    expect(mappings.map(({ write }) => write)).toEqual([true, false]);
  });

  it("tells of a large page as a whole", () => {
    const all = tracked();
    const size = 2 ** 21;
    const reserved = all.program.memory(2 * size);
    const va = (reserved + BigInt(size) - 1n) & ~BigInt(size - 1);
    all.program.ioasMap(all.iommufd, all.ioas, { va, iova: size, length: size });
    setTracking(all);
    all.edu.store(BigInt(size) + 0x5000n, 64);
    expect(getBitmap(all, { iova: size, length: 8 * PAGE, ...NO_CLEAR })).toBe(0xff);
    expect(getBitmap(all, { iova: size, length: size, page_size: size })).toBe(1);
  });

  it("stops at the first hole, and does not touch the other bits of the program's", () => {
    const all = tracked();
    const { program, iommufd, ioas, va } = all;
    program.ioasMap(iommufd, ioas, { va, iova: IOVA + 0x9000n });
    expect(getBitmap(all, { iova: IOVA + 0x4000n, length: 8 * PAGE })).toBe(0x0f);
    const room = program.memory(PAGE);
    program.bytes(room, PAGE)[0] = 0x80;
    expect(getBitmap(all, { data: room, iova: IOVA, length: PAGE })).toBe(0);
    expect(program.bytes(room, PAGE)[0]).toBe(0x81);
  });

  it("does not say that it could not write its bits", () => {
    const all = tracked();
    expect(getBitmap(all, { data: 0x10000n })).toBe(0);
    expect(getBitmap(all)).toBe(0);
  });

  it("goes on marking when it is switched off", () => {
    const all = tracked();
    expect([setTracking(all), setTracking(all, { flags: 0 })]).toEqual([0, 0]);
    all.edu.store(IOVA, 64);
    expect(getBitmap(all)).toBe(1);
  });

  it.each([
    ["a flag that is none", { flags: 2 }, "EOPNOTSUPP"],
    ["a reserved field", { __reserved: 1 }, "EOPNOTSUPP"],
    ["no page table", { hwpt_id: 99 }, "ENOENT"],
    ["an address space for one", { hwpt_id: 1 }, "ENOENT"],
    ["nothing", { length: 0 }, "EINVAL"],
    ["addresses that wrap", { iova: LAST - 0xfffn, length: 2 * PAGE }, "EOVERFLOW"],
    ["half a page", { iova: 0x800, length: 0x800 }, "EINVAL"],
    ["no page size", { page_size: 0 }, "EINVAL"],
    ["half a page of a larger size", { page_size: 16 * PAGE }, "EINVAL"],
  ])("is not read for %s", (_, fields, expected) => {
    expect(getBitmap(tracked(), fields)).toBe(expected);
  });

  it.each([
    ["a flag that is none", { flags: 2 }, "EOPNOTSUPP"],
    ["no page table", { hwpt_id: 99 }, "ENOENT"],
    ["a device for one", { hwpt_id: 2 }, "ENOENT"],
  ])("is not switched for %s", (_, fields, expected) => {
    expect(setTracking(tracked(), fields)).toBe(expected);
  });

  it("is not in page tables that were not made for it", () => {
    const all = tracked();
    const plain = { ...all, hwpt: all.program.hwpt(all.iommufd, all.id, all.ioas) };
    expect([setTracking(plain), getBitmap(plain)]).toEqual(["EOPNOTSUPP", "EOPNOTSUPP"]);
    expect(getBitmap(plain, { length: 0 })).toBe("EINVAL");
  });

  it("came to SMMUs with Linux 6.11", () => {
    const allocate = (release: string) => {
      const program = marking({ release });
      const iommufd = program.iommufd();
      const ioas = program.ioas(iommufd);
      const { id } = program.bound(A, iommufd);
      return outcome(() => program.hwpt(iommufd, id, ioas, ALLOC_DIRTY_TRACKING));
    };
    expect([allocate("6.10.0"), allocate("6.11.0")]).toEqual(["EOPNOTSUPP", 3]);
  });

  it("came with Linux 6.7", () => {
    const program = machine({ release: "6.6.0" });
    const iommufd: Fd = program.iommufd();
    const bytes = hwptSetDirtyTracking.encode({ hwpt_id: 9 });
    expect(outcome(() => program.kernel.ioctl(iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, bytes))).toBe("ENOTTY");
  });
});
