import { describe, expect, it } from "vitest";
import { IOMMU_IOAS_IOVA_RANGES, ioasIovaRanges } from "../../../src/abi/iommufd-ioas.js";
import { IOMMU_OPTION, IOMMU_OPTION_ID, IOMMU_OPTION_OP, option } from "../../../src/abi/iommufd-object.js";
import { PROT_READ } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE } from "../program.js";
import { A, devicesWith, FIXED_IOVA, type IommufdProgram, machine, READABLE, WRITEABLE } from "./iommufd-program.js";

const P = BigInt(PAGE);
const LAST = 2n ** 64n - 1n;

/** An address space that no device is attached to: no page tables, no rules. */
function empty(program = machine()) {
  const iommufd = program.iommufd();
  return { program, iommufd, ioas: program.ioas(iommufd) };
}

/** One with a device. */
function attached(program = machine()) {
  const { iommufd, ioas } = program.attached(A);
  return { program, iommufd, ioas };
}

describe("IOMMU_IOAS_IOVA_RANGES", () => {
  it("says everything of an address space without devices, and how much room that takes", () => {
    const { program, iommufd, ioas } = empty();
    const bytes = ioasIovaRanges.encode({ ioas_id: ioas });
    expect(outcome(() => program.kernel.ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, bytes))).toBe("EMSGSIZE");
    expect(ioasIovaRanges.decode(bytes)).toMatchObject({ num_iovas: 1, out_iova_alignment: 1n });
    expect(program.iovas(iommufd, ioas)).toEqual(["0-ffffffffffffffff"]);
  });

  it("fills what room there is", () => {
    const { program, iommufd, ioas } = attached();
    const room = program.memory(PAGE);
    const bytes = ioasIovaRanges.encode({ ioas_id: ioas, num_iovas: 1, allowed_iovas: room });
    expect(outcome(() => program.kernel.ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, bytes))).toBe("EMSGSIZE");
    expect(ioasIovaRanges.decode(bytes)).toMatchObject({ num_iovas: 2, out_iova_alignment: P });
    const view = new DataView(program.kernel.view(room, PAGE));
    expect([0, 8, 16].map((at) => view.getBigUint64(at, true))).toEqual([0n, 0x7ffffffn, 0n]);
  });

  it("cannot write where nothing is", () => {
    const { program, iommufd, ioas } = attached();
    const bytes = ioasIovaRanges.encode({ ioas_id: ioas, num_iovas: 2, allowed_iovas: 0x1000n });
    expect(outcome(() => program.kernel.ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, bytes))).toBe("EFAULT");
  });

  it("leaves out the window of the device's interrupts, and what the IOMMU cannot address", () => {
    const { program, iommufd, ioas } = attached();
    expect(program.iovas(iommufd, ioas)).toEqual(["0-7ffffff", "8100000-ffffffffffff"]);
  });
});

describe("IOMMU_IOAS_MAP", () => {
  const at = (wish: Partial<Parameters<IommufdProgram["ioasMap"]>[2]>) => wish;

  it.each([
    ["a flag that is none", at({ flags: 8 | FIXED_IOVA | READABLE, iova: LAST }), "EOPNOTSUPP"],
    ["the last address", at({ iova: LAST }), "EOVERFLOW"],
    ["all addresses", at({ length: LAST }), "EOVERFLOW"],
    ["no access", at({ flags: FIXED_IOVA }), "EINVAL"],
    ["memory that wraps", at({ va: LAST - 0xfffn }), "EOVERFLOW"],
    ["nothing", at({ length: 0 }), "EINVAL"],
    ["half a page", at({ length: 0x800, iova: 0x801 }), "EINVAL"],
    ["an odd address", at({ iova: 0x800 }), "EINVAL"],
    ["addresses that wrap", at({ iova: LAST - 0xfffn, length: 2 * PAGE }), "EOVERFLOW"],
    ["the window of the interrupts", at({ iova: 0x8000000 }), "EINVAL"],
    ["into that window, over a mapping", at({ iova: 0x7fff000, length: 2 * PAGE }), "EINVAL"],
    ["over a mapping", at({ iova: 0x7fff000 }), "EEXIST"],
    ["over a mapping, odd memory", at({ iova: 0x7fff000, va: 0x801n }), "EEXIST"],
    ["odd memory", at({ va: 0x10801n }), "EINVAL"],
    ["memory that is not there", at({ va: 0x10000n }), "EFAULT"],
    ["beyond the aperture", at({ iova: 2n ** 48n }), "EINVAL"],
    ["address 0", at({}), 0n],
    ["the aperture's end", at({ iova: 2n ** 48n - P }), 2n ** 48n - P],
  ])("with a device: %s", (_, wish, expected) => {
    const { program, iommufd, ioas } = attached();
    const va = program.memory(4 * PAGE);
    program.ioasMap(iommufd, ioas, { iova: 0x7fff000, va });
    expect(outcome(() => program.ioasMap(iommufd, ioas, { va, ...wish }))).toBe(expected);
  });

  it("without a device takes nearly everything, and pins nothing", () => {
    const { program, iommufd, ioas } = empty();
    const map = (wish: { iova?: bigint; length?: number; va: bigint }) =>
      outcome(() => program.ioasMap(iommufd, ioas, wish));
    expect(map({ va: 0x1001n, iova: 3n, length: 5 })).toBe(3n);
    expect(map({ va: 0x1000n, iova: 0x8000000n })).toBe(0x8000000n);
    expect(map({ va: 0x1000n, iova: 7n, length: 1 })).toBe("EEXIST");
    expect(map({ va: 0x1000n, iova: 2n ** 63n })).toBe(2n ** 63n);
    expect(program.kernel.pinnedPages).toBe(0);
    expect(map({ va: 0x1000n, iova: 2n ** 62n + 1n })).toBe("ENOSYS");
  });

  it("pins all of the memory, or maps nothing", () => {
    const { program, iommufd, ioas } = attached();
    const va = program.memory(3 * PAGE);
    program.kernel.munmap(va + 2n * P, PAGE);
    expect(outcome(() => program.ioasMap(iommufd, ioas, { va, length: 3 * PAGE }))).toBe("EFAULT");
    expect(program.kernel.pinnedPages).toBe(0);
    expect(program.kernel.iommufds[0]?.ioases[0]?.hwpts[0]?.mappings).toEqual([]);
    program.ioasMap(iommufd, ioas, { va, length: 2 * PAGE });
    expect(program.kernel.pinnedPages).toBe(2);
  });

  it("maps read-only memory for reading only", () => {
    const { program, iommufd, ioas } = attached();
    const va = program.memory(PAGE, PROT_READ);
    expect(outcome(() => program.ioasMap(iommufd, ioas, { va }))).toBe("EFAULT");
    expect(program.ioasMap(iommufd, ioas, { va, flags: FIXED_IOVA | READABLE })).toBe(0n);
  });

  it("does not map a device's registers", () => {
    const program = machine();
    const { iommufd, ioas, devices } = program.attached(A);
    const { address } = program.edu(devices[0]!.cdev);
    expect(outcome(() => program.ioasMap(iommufd, ioas, { va: address }))).toBe("EFAULT");
  });
});

describe("an address that the kernel chooses", () => {
  const choose = (program: IommufdProgram, iommufd: Fd, ioas: number, va: bigint, length: number) =>
    outcome(() => program.ioasMap(iommufd, ioas, { va, length, flags: READABLE, iova: 0xdead }));
  const MIB = 2 ** 20;

  it("is the lowest that is as aligned as the memory, and never 0", () => {
    const { program, iommufd, ioas } = empty();
    expect(choose(program, iommufd, ioas, 0x7000_0000_1000n, PAGE)).toBe(0x1000n);
    expect(choose(program, iommufd, ioas, 0x7000_0020_0000n, 2 * MIB)).toBe(0x200000n);
    expect(choose(program, iommufd, ioas, 0x7000_0000_1000n, 16 * PAGE)).toBe(0x2000n);
    expect(choose(program, iommufd, ioas, 0x7000_4000_0000n, 1024 * MIB)).toBe(0x400000n);
    expect(choose(program, iommufd, ioas, 0x7000_0000_1234n, 0x100)).toBe(0x12234n);
  });

  it("keeps out of what is reserved, and inside what is allowed", () => {
    const { program, iommufd, ioas } = attached();
    const va = program.memory(2 * PAGE);
    program.allow(iommufd, ioas, [
      [0x7fff000n, 0x7ffffffn],
      [0x9000000n, 0x9001fffn],
    ]);
    expect(choose(program, iommufd, ioas, va, PAGE)).toBe(0x7fff000n);
    expect(choose(program, iommufd, ioas, va, PAGE)).toBe(0x9000000n);
    expect(choose(program, iommufd, ioas, va, 2 * PAGE)).toBe("ENOSPC");
    program.allow(iommufd, ioas, []);
    expect(choose(program, iommufd, ioas, va, PAGE)).toBe(0x1000n);
  });

  it("cannot be for memory that is not as aligned as the IOMMU wants", () => {
    const { program, iommufd, ioas } = attached();
    expect(choose(program, iommufd, ioas, program.memory(PAGE) + 0x800n, PAGE)).toBe("EINVAL");
  });
});

describe("IOMMU_IOAS_ALLOW_IOVAS", () => {
  it.each([
    ["one byte", [[5n, 5n]], "EINVAL"],
    ["backwards", [[6n, 5n]], "EINVAL"],
    ["an overlap", [[0n, 9n], [9n, 20n]], "EINVAL"], // biome-ignore format: a table
    ["the window of the interrupts", [[0x7fff000n, 0x8000000n]], "EADDRINUSE"],
    ["beyond the aperture", [[0n, 2n ** 48n]], "EADDRINUSE"],
    ["what is free", [[0n, 9n], [10n, 20n]], 0], // biome-ignore format: a table
  ] as const)("%s", (_, spans, expected) => {
    const { program, iommufd, ioas } = attached();
    expect(outcome(() => program.allow(iommufd, ioas, spans))).toBe(expected);
  });

  it("keeps devices away that need some of it", () => {
    const { program, iommufd, ioas } = empty();
    program.allow(iommufd, ioas, [[0x8000000n, 0x8000fffn]]);
    const { cdev } = program.bound(A, iommufd);
    expect(outcome(() => program.attach(cdev, ioas))).toBe("EADDRINUSE");
    program.allow(iommufd, ioas, []);
    expect(program.attach(cdev, ioas)).toBe(3);
  });
});

describe("IOMMU_IOAS_UNMAP", () => {
  function mapped() {
    const all = attached();
    const va = all.program.memory(16 * PAGE);
    for (const iova of [0x10000, 0x20000]) all.program.ioasMap(all.iommufd, all.ioas, { iova, length: 4 * PAGE, va });
    return { ...all, unmap: (iova: bigint | number, length: bigint | number) => outcome(() => all.program.ioasUnmap(all.iommufd, all.ioas, iova, length)) }; // biome-ignore format: one object
  }

  it.each([
    ["a hole", 0x0, 0x10000n, "ENOENT"],
    ["nothing", 0x10000, 0n, "EINVAL"],
    ["what wraps", 0x10000, LAST - 0xfffn, "EOVERFLOW"],
    ["from the last address", LAST, 1n, "EOVERFLOW"],
    ["all but from 0", 0x10000, LAST, "EOVERFLOW"],
    ["one of them", 0x10000, 0x4000n, 0x4000n],
    ["with what is free around it", 0x1, 0x1ffffn, 0x4000n],
    ["both", 0x10000, 0x14000n, 0x8000n],
    ["everything", 0, LAST, 0x8000n],
    ["the beginning of one", 0x10000, 0x1000n, "ENOENT"],
    ["the end of one", 0x11000, 0x3000n, "ENOENT"],
  ])("%s", (_, iova, length, expected) => {
    expect(mapped().unmap(iova, length)).toBe(expected);
  });

  it("does not stop at the first that is whole before one that is not", () => {
    const { unmap, program } = mapped();
    expect(unmap(0x10000, 0x12000n)).toBe("ENOENT");
    expect(program.kernel.iommufds[0]?.ioases[0]?.areas.map(({ iova }) => iova)).toEqual([0x20000]);
    expect(unmap(0, LAST)).toBe(0x4000n);
    expect(unmap(0, LAST)).toBe(0n);
    expect(program.kernel.pinnedPages).toBe(0);
  });
});

describe("IOMMU_IOAS_COPY", () => {
  it("maps the same pins again", () => {
    const { program, iommufd, ioas } = attached(machine({ capabilities: [], memlock: 16 * PAGE }));
    const va = program.memory(16 * PAGE);
    program.ioasMap(iommufd, ioas, { va, iova: 0x10000, length: 8 * PAGE });
    program.ioasMap(iommufd, ioas, { va: va + 8n * P, iova: 0x18000, length: 8 * PAGE, flags: FIXED_IOVA | READABLE });
    const copy = (iova: bigint, from: bigint, length: bigint, flags = FIXED_IOVA | READABLE) =>
      outcome(() => program.copy(iommufd, { ioas, iova, flags }, { ioas, iova: from, length }));
    expect(copy(0x40000n, 0x12000n, 0xc000n)).toBe(0x40000n);
    expect(copy(0x60000n, 0x18000n, P, FIXED_IOVA | WRITEABLE)).toBe("EPERM");
    expect(copy(0x60000n, 0x1f000n, 2n * P)).toBe("ENOENT");
    expect(copy(0x60000n, 0x10000n, 0n)).toBe("EINVAL");
    expect(copy(LAST, 0x10000n, P)).toBe("EOVERFLOW");
    expect(copy(0x10000n, 0x10000n, P)).toBe("EEXIST");
    expect(copy(0n, 0x10000n, P, READABLE)).toBe(0x1000n);
    expect(program.kernel.pinnedPages).toBe(16);
    expect(program.ioasUnmap(iommufd, ioas, 0x10000, 0x10000)).toBe(0x10000n);
    expect(program.kernel.pinnedPages).toBe(13);
    expect(program.ioasUnmap(iommufd, ioas, 0, LAST)).toBe(0xd000n);
    expect([program.kernel.pinnedPages, program.kilobytes("VmPin")]).toEqual([0, 0]);
  });

  it("reaches from one address space into another", () => {
    const { program, iommufd, ioas } = attached();
    const other = program.ioas(iommufd);
    const va = program.memory(PAGE);
    program.ioasMap(iommufd, other, { va, iova: 0x5000 });
    expect(program.kernel.pinnedPages).toBe(0);
    program.copy(iommufd, { ioas, iova: 0x9000n }, { ioas: other, iova: 0x5000n });
    expect(program.kernel.pinnedPages).toBe(1);
    expect(outcome(() => program.copy(iommufd, { ioas: 99 }, { ioas: other, iova: 0x5000n }))).toBe("ENOENT");
    expect(outcome(() => program.copy(iommufd, { ioas }, { ioas: 99 }))).toBe("ENOENT");
  });
});

describe("what pins count against", () => {
  const MIB = 2 ** 20;
  const setOption = (program: IommufdProgram, iommufd: Fd, option_id: number, object_id: number, val64: bigint) =>
    outcome(() =>
      program.kernel.ioctl(
        iommufd,
        IOMMU_OPTION,
        option.encode({ option_id, op: IOMMU_OPTION_OP.SET, object_id, val64 }),
      ),
    );
  const getOption = (program: IommufdProgram, iommufd: Fd, option_id: number, object_id: number) => {
    const bytes = option.encode({ option_id, op: IOMMU_OPTION_OP.GET, object_id });
    program.kernel.ioctl(iommufd, IOMMU_OPTION, bytes);
    return option.decode(bytes).val64;
  };
  const { RLIMIT_MODE, HUGE_PAGES } = IOMMU_OPTION_ID;

  it("is the user's limit, exactly, unless the process may lock what it likes", () => {
    const { program, iommufd, ioas } = attached(machine({ capabilities: [], memlock: 64 * 1024 }));
    const va = program.memory(MIB);
    const map = (iova: number, length: number) => outcome(() => program.ioasMap(iommufd, ioas, { va, iova, length }));
    expect(map(0, 64 * 1024)).toBe(0n);
    expect(map(0x100000, PAGE)).toBe("ENOMEM");
    expect(program.copy(iommufd, { ioas, iova: 0x100000n }, { ioas, length: 0x10000n })).toBe(0x100000n);
    expect([program.kilobytes("VmLck"), program.kilobytes("VmPin")]).toEqual([0, 64]);
    program.ioasUnmap(iommufd, ioas, 0, LAST);
    expect(map(0, 64 * 1024)).toBe(0n);
  });

  it("is nobody's with CAP_IPC_LOCK, but told as pinned", () => {
    const { program, iommufd, ioas } = attached(machine({ memlock: 64 * 1024 }));
    expect(program.ioasMap(iommufd, ioas, { va: program.memory(MIB), length: MIB })).toBe(0n);
    expect([program.kilobytes("VmLck"), program.kilobytes("VmPin")]).toEqual([0, 1024]);
    expect(program.kernel.lockedBytes).toBe(0);
  });

  it("is the process's on demand, while nothing exists yet", () => {
    const program = machine({ capabilities: [] });
    const iommufd = program.iommufd();
    expect(getOption(program, iommufd, RLIMIT_MODE, 0)).toBe(0n);
    expect(setOption(program, iommufd, RLIMIT_MODE, 1, 1n)).toBe("EOPNOTSUPP");
    expect(setOption(program, iommufd, RLIMIT_MODE, 0, 2n)).toBe("EINVAL");
    expect(setOption(program, iommufd, 7, 0, 0n)).toBe("EOPNOTSUPP");
    const unknown = option.encode({ option_id: HUGE_PAGES, op: 9, object_id: 77 });
    expect(outcome(() => program.kernel.ioctl(iommufd, IOMMU_OPTION, unknown))).toBe("ENOENT");
    const other = option.encode({ option_id: RLIMIT_MODE, op: 9, object_id: 0 });
    expect(outcome(() => program.kernel.ioctl(iommufd, IOMMU_OPTION, other))).toBe("EOPNOTSUPP");
    expect(setOption(program, iommufd, RLIMIT_MODE, 0, 1n)).toBe(0);
    expect(getOption(program, iommufd, RLIMIT_MODE, 0)).toBe(1n);
    const ioas = program.ioas(iommufd);
    expect(setOption(program, iommufd, RLIMIT_MODE, 0, 0n)).toBe("EBUSY");
    program.attach(program.bound(A, iommufd).cdev, ioas);
    program.ioasMap(iommufd, ioas, { va: program.memory(2 * PAGE), length: 2 * PAGE });
    expect([program.kilobytes("VmLck"), program.kilobytes("VmPin")]).toEqual([8, 8]);
  });

  it("makes small pages where large ones are switched off, if that comes before the mappings", () => {
    const { program, iommufd, ioas } = attached();
    expect(getOption(program, iommufd, HUGE_PAGES, ioas)).toBe(1n);
    expect(setOption(program, iommufd, HUGE_PAGES, 77, 0n)).toBe("ENOENT");
    program.ioasMap(iommufd, ioas, { va: program.memory(PAGE) });
    expect(setOption(program, iommufd, HUGE_PAGES, ioas, 0n)).toBe("EINVAL");
    program.ioasUnmap(iommufd, ioas, 0, LAST);
    expect(setOption(program, iommufd, HUGE_PAGES, ioas, 0n)).toBe(0);
    expect(program.ioasMap(iommufd, ioas, { va: program.memory(MIB), length: MIB })).toBe(0n);
    expect(program.ioasUnmap(iommufd, ioas, 0, MIB)).toBe(BigInt(MIB));
  });

  it("are not charged when they fail", () => {
    const { program, iommufd, ioas } = attached(machine({ capabilities: [], memlock: 4 * PAGE }));
    const va = program.memory(8 * PAGE);
    expect(outcome(() => program.ioasMap(iommufd, ioas, { va, length: 8 * PAGE }))).toBe("ENOMEM");
    expect(program.kernel.pinnedPages).toBe(0);
    expect(program.ioasMap(iommufd, ioas, { va, length: 4 * PAGE })).toBe(0n);
  });

  it("are all given back with the descriptor", () => {
    const program = machine({ devices: devicesWith(A, {}) });
    const { iommufd, ioas, devices } = program.attached(A);
    const va = program.memory(4 * PAGE);
    program.ioasMap(iommufd, ioas, { va, length: 4 * PAGE });
    program.kernel.close(iommufd);
    expect(program.kernel.pinnedPages).toBe(4);
    program.kernel.close(devices[0]!.cdev);
    program.kernel.munmap(va, 4 * PAGE);
    expect([program.kernel.pinnedPages, program.kernel.usedMemory, program.kernel.iommufds]).toEqual([0, 0, []]);
  });
});
