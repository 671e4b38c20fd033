import { describe, expect, it } from "vitest";
import { dmaMap, dmaUnmap, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../../src/abi/vfio-container.js";
import { type MachineOneOptions, machineOne } from "../../src/sim/linux/machine-one.js";
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
} from "../../src/syscalls/mmap-flags.js";
import { outcome, PAGE, Program } from "./program.js";

const A = "0000:02:00.0";
const READ = 1;
const WRITE = 2;
const VADDR = 4;
const ALL = 2;
const UNMAP_VADDR = 4;
const LAST_PAGE = 2n ** 64n - 4096n;
const P = 4096n;

function setUp(options: MachineOneOptions = {}, type = 3) {
  const program = new Program(machineOne(options));
  const container = program.container();
  const group = program.group(A);
  program.setContainer(group, container);
  program.setIommu(container, type);
  return { program, kernel: program.kernel, container, group };
}

describe("MAP_DMA", () => {
  it.each([
    ["iova 0", 0n, P, READ | WRITE, 0],
    ["the last page below the MSI window", 0x7fff000n, P, READ, 0],
    ["the first page above it", 0x8100000n, P, WRITE, 0],
    ["the last page of the aperture", 2n ** 48n - P, P, READ, 0],
    ["size 0", 0n, 0n, READ, "EINVAL"],
    ["a range that wraps", LAST_PAGE, 2n * P, READ, "EOVERFLOW"],
    ["a range that ends with the address space", LAST_PAGE, P, READ, "EINVAL"],
    ["no access", 0n, P, 0, "EINVAL"],
    ["an access with VADDR", 0n, P, READ | VADDR, "EINVAL"],
    ["an unknown flag", 0n, P, READ | 8, "EINVAL"],
    ["half a page", 0n, P / 2n, READ, "EINVAL"],
    ["an iova inside a page", 8n, P, READ, "EINVAL"],
    ["VADDR where nothing is mapped", 0n, P, VADDR, "ENOENT"],
    ["the MSI window", 0x8000000n, P, READ, "EINVAL"],
    ["into the MSI window", 0x7fff000n, 2n * P, READ, "EINVAL"],
    ["beyond the aperture", 2n ** 48n, P, READ, "EINVAL"],
    ["over the aperture's end", 2n ** 48n - P, 2n * P, READ, "EINVAL"],
  ])("%s", (_name, iova, size, flags, expected) => {
    const { program, kernel, container } = setUp();
    const vaddr = program.memory(8 * PAGE);
    expect(outcome(() => program.map(container, iova, size, vaddr, flags))).toBe(expected);
    expect(kernel.lockedBytes).toBe(expected === 0 ? Number(size) : 0);
    expect(program.available(container)).toBe(expected === 0 ? 65534 : 65535);
  });

  it("reads 32 bytes, and believes an argsz of no less", () => {
    const { kernel, container } = setUp();
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_MAP_DMA, new Uint8Array(31)))).toBe("EFAULT");
    const short = dmaMap.encode({ argsz: 31, flags: READ, size: P });
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_MAP_DMA, short))).toBe("EINVAL");
  });

  it("a vaddr that wraps is EOVERFLOW, a misaligned one EINVAL", () => {
    const { program, container } = setUp();
    expect(outcome(() => program.map(container, 0n, 2n * P, LAST_PAGE))).toBe("EOVERFLOW");
    expect(outcome(() => program.map(container, 0n, P, 0x1001n))).toBe("EINVAL");
  });

  it("finds an overlap before a full table, and that before a forbidden address", () => {
    const { program, container } = setUp({ dmaEntryLimit: 1 });
    const vaddr = program.memory(4 * PAGE);
    program.map(container, 0x7fff000n, P, vaddr);
    expect(outcome(() => program.map(container, 0x7fff000n, 2n * P, vaddr))).toBe("EEXIST");
    expect(outcome(() => program.map(container, 0x8000000n, P, vaddr))).toBe("ENOSPC");
    expect(outcome(() => program.map(container, 0n, P, vaddr))).toBe("ENOSPC");
    program.unmap(container, 0x7fff000n, P);
    expect(program.map(container, 0n, P, vaddr)).toBe(0);
  });

  it.each([
    ["nothing mapped", () => 0x100000n, READ],
    ["PROT_NONE", (program: Program) => program.memory(4 * PAGE, PROT_NONE), READ],
    ["writing a read-only mapping", (program: Program) => program.memory(4 * PAGE, PROT_READ), WRITE],
    ["a hole", holed, READ],
  ] as const)("EFAULT leaves nothing behind: %s", (_name, memory, flags) => {
    const { program, kernel, container } = setUp();
    const vaddr = memory(program);
    expect(outcome(() => program.map(container, 0n, 4n * P, vaddr, flags))).toBe("EFAULT");
    expect([kernel.lockedBytes, kernel.pinnedPages, program.available(container)]).toEqual([0, 0, 65535]);
    expect(kernel.containers[0]?.type1?.domains[0]?.mappings).toEqual([]);
  });

  it("takes read-only memory for reading", () => {
    const { program, container } = setUp();
    expect(program.map(container, 0n, P, program.memory(PAGE, PROT_READ), READ)).toBe(0);
  });

  it("takes a device's registers, and counts them not", () => {
    const { program, kernel, container, group } = setUp();
    const { address } = program.edu(program.device(group, A));
    expect(program.map(container, 0n, 2n ** 20n, address)).toBe(0);
    expect([kernel.lockedBytes, kernel.pinnedPages]).toEqual([0, 0]);
    expect(program.unmap(container, 0n, 2n ** 20n)).toBe(2n ** 20n);
    program.kernel.pwrite(program.device(group, A), Uint8Array.of(0, 0), (7n << 40n) + 4n);
    expect(outcome(() => program.map(container, 0n, 2n ** 20n, address))).toBe("EFAULT");
  });
});

function holed(program: Program): bigint {
  const address = program.memory(4 * PAGE);
  program.kernel.munmap(address + P, PAGE);
  return address;
}

describe("locked memory", () => {
  it("is limited exactly, without the capability", () => {
    const { program, kernel, container } = setUp({ memlock: 65536, capabilities: [] });
    const vaddr = program.memory(131072);
    expect(program.map(container, 0n, 65536n, vaddr)).toBe(0);
    expect(outcome(() => program.map(container, 0x100000n, P, vaddr))).toBe("ENOMEM");
    expect(kernel.log).toEqual(["vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"]);
    expect(kernel.lockedBytes).toBe(65536);
    program.unmap(container, 0n, 65536n);
    expect(outcome(() => program.map(container, 0n, 65536n + P, vaddr))).toBe("ENOMEM");
    expect(kernel.lockedBytes).toBe(0);
  });

  it("is counted but not limited with CAP_IPC_LOCK", () => {
    const { program, kernel, container } = setUp({ memlock: 65536 });
    expect(program.map(container, 0n, 2n ** 20n, program.memory(2 ** 20))).toBe(0);
    expect(kernel.readFile("/proc/self/status")).toMatch(/^VmLck:\t {4}1024 kB$/m);
  });

  it("counts the same buffer in each container and for each iova", () => {
    const program = new Program(machineOne());
    const first = program.open(A).container;
    const second = program.open("0000:22:00.0").container;
    const vaddr = program.memory(2 ** 21);
    program.map(first, 0n, 2n ** 21n, vaddr);
    program.map(second, 0n, 2n ** 21n, vaddr);
    expect(program.kernel.lockedBytes).toBe(2 ** 22);
    program.map(first, 2n ** 21n, 2n ** 21n, vaddr);
    expect(program.kernel.lockedBytes).toBe(3 * 2 ** 21);
    program.unmap(second, 0n, 2n ** 21n);
    expect(program.kernel.lockedBytes).toBe(2 ** 22);
  });
});

describe("UNMAP_DMA, version 2", () => {
  const BASE = 0x100000n;

  /** Two mappings of two pages with a hole of two pages between them. */
  function mapped() {
    const set = setUp();
    const vaddr = set.program.memory(8 * PAGE);
    set.program.map(set.container, BASE, 2n * P, vaddr);
    set.program.map(set.container, BASE + 4n * P, 2n * P, vaddr);
    return set;
  }

  it.each([
    ["one mapping", BASE, 2n * P, 0, 2n * P],
    ["a hole", BASE + 2n * P, 2n * P, 0, 0n],
    ["nothing, far away", 2n ** 50n, P, 0, 0n],
    ["both with the hole", BASE, 6n * P, 0, 4n * P],
    ["more than both", 0n, 2n ** 40n, 0, 4n * P],
    ["everything", 0n, 0n, ALL, 4n * P],
    ["the first page of one", BASE, P, 0, "EINVAL"],
    ["the second page of one", BASE + P, P, 0, "EINVAL"],
    ["one and a half", BASE, 5n * P, 0, "EINVAL"],
    ["size 0", BASE, 0n, 0, "EINVAL"],
    ["half a page", BASE, P / 2n, 0, "EINVAL"],
    ["inside a page", BASE + 1n, P, 0, "EINVAL"],
    ["a wrap", LAST_PAGE, 2n * P, 0, "EOVERFLOW"],
    ["everything, with an address", BASE, 0n, ALL, "EINVAL"],
    ["everything, with a size", 0n, P, ALL, "EINVAL"],
    ["an unknown flag", BASE, P, 8, "EINVAL"],
    ["dirty pages without tracking", BASE, 2n * P, 1, "EINVAL"],
  ])("%s", (_name, iova, size, flags, expected) => {
    const { program, kernel, container } = mapped();
    expect(outcome(() => program.unmap(container, iova, size, flags))).toBe(expected);
    const removed = typeof expected === "bigint" ? expected : 0n;
    expect(kernel.lockedBytes).toBe(Number(4n * P - removed));
  });

  it("writes the size only when it succeeds", () => {
    const { kernel, container } = mapped();
    const bytes = dmaUnmap.encode({ iova: BASE, size: P });
    expect(outcome(() => kernel.ioctl(container, VFIO_IOMMU_UNMAP_DMA, bytes))).toBe("EINVAL");
    expect(dmaUnmap.decode(bytes).size).toBe(P);
  });
});

describe("UNMAP_DMA, version 1", () => {
  it("takes a mapping whole whose first page is asked for", () => {
    const { program, container } = setUp({}, 1);
    program.map(container, 0n, 2n * P, program.memory(2 * PAGE));
    expect(program.unmap(container, 0n, P)).toBe(2n * P);
  });

  it("stops at a mapping that begins before the range", () => {
    const { program, container } = setUp({}, 1);
    const vaddr = program.memory(2 * PAGE);
    program.map(container, 0n, 2n * P, vaddr);
    program.map(container, 2n * P, P, vaddr);
    expect(program.unmap(container, P, 2n * P)).toBe(0n);
    expect(program.available(container)).toBe(65533);
  });
});

describe("taking the address from a mapping", () => {
  it("leaves it mapped until a new address comes", () => {
    const { program, kernel, container, group } = setUp();
    const first = program.memory(PAGE);
    const second = program.memory(PAGE);
    program.map(container, 0n, P, first);
    expect(outcome(() => program.map(container, 0n, P, second, VADDR))).toBe("EINVAL");
    expect(program.unmap(container, 0n, P, UNMAP_VADDR)).toBe(P);
    expect(outcome(() => program.unmap(container, 0n, P, UNMAP_VADDR))).toBe("EINVAL");
    expect(kernel.lockedBytes).toBe(PAGE);
    expect(outcome(() => program.setContainer(program.group("0000:22:00.0"), container))).toBe("EBUSY");
    expect(program.map(container, P, P, first)).toBe(0);
    expect(outcome(() => program.map(container, 0n, 2n * P, second, VADDR))).toBe("EINVAL");
    expect(program.map(container, 0n, P, second, VADDR)).toBe(0);
    expect(kernel.containers[0]?.type1?.dmas[0]?.vaddr).toBe(Number(second));
    expect(group).toBeGreaterThan(0);
  });

  it("is undone where one of the range has none", () => {
    const { program, container } = setUp();
    const vaddr = program.memory(2 * PAGE);
    program.map(container, 0n, P, vaddr);
    program.map(container, P, P, vaddr);
    program.unmap(container, P, P, UNMAP_VADDR);
    expect(outcome(() => program.unmap(container, 0n, 2n * P, UNMAP_VADDR))).toBe("EINVAL");
    expect(program.unmap(container, 0n, P, UNMAP_VADDR)).toBe(P);
    expect(program.unmap(container, 0n, 2n * P)).toBe(2n * P);
  });
});

describe("pinned memory", () => {
  it("is what the device writes to after the program unmapped it", () => {
    const { program, kernel, container, group } = setUp();
    const edu = program.edu(program.device(group, A));
    const address = program.memory(PAGE);
    program.bytes(address, PAGE)[0] = 42;
    program.map(container, 0n, P, address);
    kernel.munmap(address, PAGE);
    const fresh = kernel.mmap({ address, length: PAGE, prot: 3, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED });
    expect(fresh).toBe(address);
    edu.fetch(0n, 16);
    program.map(container, P, P, fresh);
    edu.store(P, 1);
    expect(program.bytes(fresh, PAGE)[0]).toBe(42);
    expect(kernel.pinnedPages).toBe(2);
  });

  it("is shared with the memfd it belongs to", () => {
    const { program, kernel, container, group } = setUp();
    const edu = program.edu(program.device(group, A));
    const fd = kernel.memfd("buffer", 0, PAGE);
    const map = () => kernel.mmap({ length: PAGE, prot: 3, flags: MAP_SHARED, fd });
    const address = map();
    program.map(container, 0n, P, address);
    program.bytes(address, PAGE).set([7, 8]);
    edu.fetch(0n, 2);
    edu.store(4n, 2);
    expect([...program.bytes(map(), PAGE).subarray(4, 6)]).toEqual([7, 8]);
  });
});
