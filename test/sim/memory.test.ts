import { describe, expect, it } from "vitest";
import { type MachineOneOptions, machineOne } from "../../src/sim/linux/machine-one.js";
import {
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_HUGE_SHIFT,
  MFD_HUGETLB,
  PROT_NONE,
} from "../../src/syscalls/mmap-flags.js";
import { outcome, PAGE, Program } from "./program.js";

const ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS;
const HUGE = 2 ** 21;
const HUGE_2M = MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);

function setUp(options: MachineOneOptions = {}) {
  const program = new Program(machineOne(options));
  return { program, kernel: program.kernel };
}

describe("mmap", () => {
  it("gives memory of zeros, and takes it back", () => {
    const { program, kernel } = setUp();
    const address = program.memory(PAGE + 1);
    const bytes = program.bytes(address, 2 * PAGE);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(kernel.usedMemory).toBe(2 * PAGE);
    kernel.munmap(address, 2 * PAGE);
    expect([kernel.usedMemory, kernel.addressSpace.length, bytes.length]).toEqual([0, 0, 0]);
    expect(() => kernel.view(address, PAGE)).toThrow(/SIGSEGV/);
  });

  it("costs nothing until it is touched", () => {
    const { program, kernel } = setUp();
    program.memory(2 ** 40, PROT_NONE);
    expect(kernel.usedMemory).toBe(0);
  });

  it.each([
    ["length 0", { length: 0, flags: ANONYMOUS }, "EINVAL"],
    ["neither shared nor private", { length: PAGE, flags: MAP_ANONYMOUS }, "EINVAL"],
    ["a fixed address inside a page", { length: PAGE, flags: ANONYMOUS | MAP_FIXED, address: 0x10001n }, "EINVAL"],
    ["no descriptor", { length: PAGE, flags: MAP_SHARED }, "EBADF"],
    ["an offset inside a page", { length: PAGE, flags: MAP_SHARED, offset: 1n }, "EINVAL"],
    ["more than the address space", { length: 2 ** 48, flags: ANONYMOUS }, "ENOMEM"],
    ["a fixed address beyond it", { length: PAGE, flags: ANONYMOUS | MAP_FIXED, address: 2n ** 48n }, "ENOMEM"],
    [
      "huge pages of a size that does not exist",
      { length: PAGE, flags: ANONYMOUS | MAP_HUGETLB | (16 << MAP_HUGE_SHIFT) },
      "EINVAL",
    ],
    ["huge pages where none are reserved", { length: PAGE, flags: ANONYMOUS | HUGE_2M }, "ENOMEM"],
  ])("%s: refused", (_name, request, expected) => {
    const { kernel } = setUp();
    expect(outcome(() => kernel.mmap({ prot: 3, ...request }))).toBe(expected);
    expect(kernel.addressSpace).toEqual([]);
  });

  it("is refused by files that have no memory", () => {
    const { program, kernel } = setUp();
    const map = (fd: number) =>
      outcome(() => kernel.mmap({ length: PAGE, prot: 3, flags: MAP_SHARED, fd: fd as never }));
    expect([map(program.container()), map(kernel.eventfd())]).toEqual(["ENODEV", "ENODEV"]);
  });

  it("replaces with MAP_FIXED, and views show what is there now", () => {
    const { program, kernel } = setUp();
    const address = program.memory(4 * PAGE);
    const bytes = program.bytes(address, 4 * PAGE).fill(1);
    kernel.mmap({ length: 2 * PAGE, prot: 3, flags: ANONYMOUS | MAP_FIXED, address: address + BigInt(PAGE) });
    expect([0, PAGE, 2 * PAGE, 3 * PAGE].map((at) => bytes[at])).toEqual([1, 0, 0, 1]);
    expect(kernel.view(address, 4 * PAGE)).toBe(bytes.buffer);
    // What was written through the view alone takes no memory of the machine's.
    expect([kernel.addressSpace.length, kernel.usedMemory]).toEqual([3, 2 * PAGE]);
  });

  it("cuts holes with munmap", () => {
    const { program, kernel } = setUp();
    const address = program.memory(4 * PAGE);
    kernel.munmap(address + BigInt(PAGE), PAGE);
    expect(kernel.addressSpace.map(({ start, end }) => (end - start) / PAGE)).toEqual([1, 2]);
    expect(outcome(() => kernel.munmap(address + 1n, PAGE))).toBe("EINVAL");
    expect(outcome(() => kernel.munmap(address, 0))).toBe("EINVAL");
    expect(outcome(() => kernel.munmap(address + BigInt(PAGE), PAGE))).toBe(undefined);
    expect(program.memory(PAGE)).toBe(address + BigInt(PAGE));
  });

  it("takes the advice that the library gives", () => {
    const { program, kernel } = setUp();
    const address = program.memory(4 * PAGE);
    const advise = (at: bigint, advice: number) => outcome(() => kernel.madvise(at, 4 * PAGE, advice));
    expect([MADV_DONTFORK, MADV_HUGEPAGE, 4].map((advice) => advise(address, advice))).toEqual([
      undefined,
      undefined,
      "ENOSYS",
    ]);
    expect([advise(address + 1n, MADV_DONTFORK), advise(0x10000n, MADV_DONTFORK)]).toEqual(["EINVAL", "ENOMEM"]);
  });
});

describe("a view", () => {
  it("is the same buffer each time, and no other part of it", () => {
    const { program, kernel } = setUp();
    const address = program.memory(4 * PAGE);
    const buffer = kernel.view(address, 4 * PAGE);
    expect(kernel.view(address, 4 * PAGE)).toBe(buffer);
    expect(() => kernel.view(address, PAGE)).toThrow(/different lengths/);
  });

  it("may be made of memory that a device uses already", () => {
    const { program } = setUp();
    const { container, devices } = program.open("0000:02:00.0");
    const address = program.memory(4 * PAGE);
    program.map(container, 0n, BigInt(4 * PAGE), address);
    const edu = program.edu(devices[0]!);
    const bytes = program.bytes(address, 4 * PAGE);
    bytes[3 * PAGE] = 8;
    edu.fetch(BigInt(3 * PAGE), 1);
    edu.store(0n, 1);
    expect(bytes[0]).toBe(8);
  });
});

describe("a memfd", () => {
  it("keeps its bytes while it is open or mapped", () => {
    const { program, kernel } = setUp();
    const fd = kernel.memfd("x", 0, 2 * PAGE);
    const map = () => kernel.mmap({ length: 2 * PAGE, prot: 3, flags: MAP_SHARED, fd });
    const first = map();
    program.bytes(first, 2 * PAGE)[5] = 50;
    const second = map();
    expect(program.bytes(second, 2 * PAGE)[5]).toBe(50);
    kernel.munmap(first, 2 * PAGE);
    expect(program.bytes(second, 2 * PAGE)[5]).toBe(50);
    kernel.munmap(second, 2 * PAGE);
    expect(program.bytes(map(), 2 * PAGE)[5]).toBe(50);
    kernel.close(fd);
    expect(kernel.usedMemory).toBe(2 * PAGE);
    for (const { start, end } of kernel.addressSpace) kernel.munmap(BigInt(start), end - start);
    expect(kernel.usedMemory).toBe(0);
  });

  it("is shared only", () => {
    const { kernel } = setUp();
    const fd = kernel.memfd("x", 0, PAGE);
    expect(outcome(() => kernel.mmap({ length: PAGE, prot: 3, flags: MAP_PRIVATE, fd }))).toBe("ENOSYS");
    expect(outcome(() => kernel.mmap({ length: 2 * PAGE, prot: 3, flags: MAP_SHARED, fd }))).toBe("ENOSYS");
  });
});

describe("huge pages", () => {
  const free = (kernel: Program["kernel"]) =>
    kernel.readFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");

  it("come out of their pool, and go back", () => {
    const { program, kernel } = setUp({ hugepages2M: 2 });
    const address = kernel.mmap({ length: HUGE, prot: 3, flags: ANONYMOUS | HUGE_2M });
    expect([Number(address % BigInt(HUGE)), free(kernel)]).toEqual([0, "1\n"]);
    expect(outcome(() => kernel.mmap({ length: 2 * HUGE, prot: 3, flags: ANONYMOUS | HUGE_2M }))).toBe("ENOMEM");
    expect(outcome(() => kernel.munmap(address, PAGE))).toBe("EINVAL");
    expect(program.bytes(address, HUGE)).toHaveLength(HUGE);
    kernel.munmap(address, HUGE);
    expect(free(kernel)).toBe("2\n");
  });

  it("back a memfd from its first mapping on", () => {
    const { kernel } = setUp({ hugepages2M: 1 });
    const flags = MFD_HUGETLB | (21 << MFD_HUGE_SHIFT);
    expect(outcome(() => kernel.memfd("x", flags, PAGE))).toBe("EINVAL");
    const fd = kernel.memfd("x", flags, HUGE);
    expect(free(kernel)).toBe("1\n");
    const address = kernel.mmap({ length: HUGE, prot: 3, flags: MAP_SHARED, fd });
    expect(free(kernel)).toBe("0\n");
    kernel.munmap(address, HUGE);
    kernel.close(fd);
    expect(free(kernel)).toBe("1\n");
  });

  it("are reserved in sysfs", () => {
    const { kernel } = setUp();
    kernel.writeFile("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3");
    expect(free(kernel)).toBe("3\n");
  });
});
