import * as fs from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { linux } from "../../src/machine/linux.js";
import type { Machine } from "../../src/machine/machine.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { DmaMemory, type DmaMemoryOptions } from "../../src/space/dma-memory.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Call } from "../../src/syscalls/intercepted.js";
import { linuxSyscalls } from "../../src/syscalls/linux.js";
import {
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MFD_HUGE_SHIFT,
  MFD_HUGETLB,
} from "../../src/syscalls/mmap-flags.js";
import { SyscallError, type Syscalls } from "../../src/syscalls/syscalls.js";
import { traced } from "../../src/syscalls/traced.js";
import { errorFrom, errorOf, thrownBy } from "../support/errors.js";
import { isMapped, needsLinux, onLinux, openFds } from "../support/linux-only.js";
import { MappedPages } from "../support/mapped-pages.js";
import { fd, refused, strictSyscalls } from "../support/strict-syscalls.js";

const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * A kernel with huge pages of 2 MiB and 1 GiB, `reserved` of each. Addresses are page-aligned and no more, as mmap's are
 * at worst; huge ones are aligned to their page.
 */
function kernelWith(reserved: number, pageSize = 4 * KIB) {
  const calls: string[] = [];
  let next = 0x7f00_0000_0000n + BigInt(pageSize);
  const give = (length: number, unit: number): bigint => {
    next += BigInt(unit) - (next % BigInt(unit));
    const address = next + (unit === pageSize ? BigInt(pageSize) : 0n);
    next = address + BigInt(length);
    return address;
  };
  const hugeSize = (flags: number, bit: number, shift: number) => (flags & bit ? 2 ** ((flags >>> shift) & 63) : 0);
  let memfdPages = 0;
  const syscalls: Syscalls = strictSyscalls({
    pageSize,
    mmap: ({ length, flags, address }) => {
      if (address !== undefined) return address;
      const huge = hugeSize(flags, MAP_HUGETLB, MAP_HUGE_SHIFT) || (flags & MAP_PRIVATE ? 0 : memfdPages);
      if (huge > 0 && length / huge > reserved) throw refused("mmap", "ENOMEM");
      calls.push(`mmap ${length}${huge > 0 ? ` of ${huge}` : ""}`);
      return give(length, huge || pageSize);
    },
    munmap: (_, length) => calls.push(`munmap ${length}`),
    madvise: (_, __, advice) => calls.push(`madvise ${advice}`),
    view: (_, length) => new ArrayBuffer(Math.min(length, MIB)),
    memfd: (_, flags, length) => {
      memfdPages = hugeSize(flags, MFD_HUGETLB, MFD_HUGE_SHIFT);
      calls.push(`memfd ${length}${memfdPages > 0 ? ` of ${memfdPages}` : ""}`);
      return fd(11);
    },
    close: (closed) => calls.push(`close ${closed}`),
  });
  return { calls, machine: { syscalls } };
}

describe("DmaMemory's size and place", () => {
  it("is whole pages at a multiple of the page size and of the alignment, whatever is asked for", () => {
    const sizes = fc.integer({ min: 1, max: 5 * MIB });
    const shifts = fc.integer({ min: 0, max: 22 });
    const modes = fc.constantFrom<DmaMemoryOptions["hugePages"]>(undefined, "try", "no", "2MiB");
    const backings = fc.constantFrom<"anonymous" | "memfd">("anonymous", "memfd");
    fc.assert(
      fc.property(
        sizes,
        shifts,
        modes,
        backings,
        fc.constantFrom(0, 1, 100),
        (size, shift, mode, backing, reserved) => {
          const alignment = 2 ** (mode === "2MiB" ? Math.min(shift, 21) : shift);
          fc.pre(mode !== "2MiB" || reserved * 2 * MIB >= size);
          const { machine } = kernelWith(reserved);
          const memory = DmaMemory.allocate(machine, size, { backing, alignment, ...(mode && { hugePages: mode }) });
          const unit = Math.max(alignment, memory.pageSize);
          expect(memory.address % BigInt(unit)).toBe(0n);
          expect(memory.size % unit).toBe(0);
          expect(memory.size - size).toBeGreaterThanOrEqual(0);
          expect(memory.size - size).toBeLessThan(unit);
        },
      ),
    );
  });

  it("keeps to the machine's page size, 64 KiB on some", () => {
    const memory = DmaMemory.allocate(kernelWith(0, 64 * KIB).machine, 1);
    expect(memory).toMatchObject({ size: 64 * KIB, pageSize: 64 * KIB });
    expect(memory.address % BigInt(64 * KIB)).toBe(0n);
  });

  it("takes sizes as bigint too", () => {
    expect(DmaMemory.allocate(kernelWith(0).machine, 4097n).size).toBe(8192);
  });

  it.each([0, -1, 1.5, Number.NaN, 2n ** 60n])("refuses a size of %s before it calls the kernel", (size) => {
    const error = errorOf(() => DmaMemory.allocate({ syscalls: strictSyscalls() }, size));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });

  it.each([
    [0, {}],
    [-4096, {}],
    [3, {}],
    [4096.5, {}],
    [Number.NaN, {}],
    [2 ** 31, {}],
    [4 * MIB, { hugePages: "2MiB" as const }],
  ])("refuses an alignment of %s with %o", (alignment, options) => {
    const error = errorOf(() => DmaMemory.allocate({ syscalls: strictSyscalls() }, 1, { ...options, alignment }));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toContain(String(alignment));
  });
});

describe("DmaMemory's huge pages", () => {
  it("takes them when it is to try and there are enough", () => {
    const { machine, calls } = kernelWith(2);
    expect(DmaMemory.allocate(machine, 3 * MIB)).toMatchObject({ size: 4 * MIB, pageSize: 2 * MIB });
    expect(calls[0]).toBe(`mmap ${4 * MIB} of ${2 * MIB}`);
  });

  it("goes without when it is to try and there are not, where the kernel can still join pages", () => {
    const { machine, calls } = kernelWith(1);
    const memory = DmaMemory.allocate(machine, 3 * MIB);
    expect(memory).toMatchObject({ size: 3 * MIB, pageSize: 4 * KIB });
    expect(memory.address % BigInt(2 * MIB)).toBe(0n);
    expect(calls).toContain("madvise 14"); // MADV_HUGEPAGE
  });

  it("does not spend them on less than one", () => {
    const { machine, calls } = kernelWith(5);
    expect(DmaMemory.allocate(machine, MIB).pageSize).toBe(4 * KIB);
    expect(calls[0]).toBe(`mmap ${MIB}`);
  });

  it.each(["EINVAL", "ENODEV", "ENOSYS"] as const)("goes without where memfd_create answers %s", (name) => {
    // Kernels without huge pages (CONFIG_HUGETLBFS off: ENOSYS) or of other sizes (ENODEV; mm/memfd.c, hugetlbfs/inode.c).
    const { machine } = kernelWith(0);
    const syscalls: Syscalls = strictSyscalls({
      ...machine.syscalls,
      mmap: machine.syscalls.mmap,
      munmap: machine.syscalls.munmap,
      madvise: machine.syscalls.madvise,
      close: machine.syscalls.close,
      memfd: (file, flags, length) => {
        if (flags & MFD_HUGETLB) throw refused("memfd_create", name);
        return machine.syscalls.memfd(file, flags, length);
      },
    });
    const memory = DmaMemory.allocate({ syscalls }, 2 * MIB, { backing: "memfd", hugePages: "try" });
    expect(memory.pageSize).toBe(4 * KIB);
  });

  it.each([
    ["2MiB", 2 * MIB, 3 * MIB, "echo 2 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"],
    ["1GiB", 1024 * MIB, 1, "echo 1 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"],
  ] as const)(
    "says how to reserve pages of %s when they are wanted and not there",
    (hugePages, pageSize, size, command) => {
      for (const backing of ["anonymous", "memfd"] as const) {
        const { machine, calls } = kernelWith(0);
        const error = errorOf(() => DmaMemory.allocate(machine, size, { hugePages, backing }));
        expect(error).toMatchObject({ code: "ERR_IOSPAN_NO_MEMORY", syscall: "mmap", errno: errno.ENOMEM });
        expect(error.hint).toContain(command);
        expect(calls.filter((call) => call.startsWith("memfd")).length).toBe(
          calls.filter((c) => c === "close 11").length,
        );
        const enough = kernelWith(4).machine;
        expect(DmaMemory.allocate(enough, size, { hugePages, backing }).pageSize).toBe(pageSize);
      }
    },
  );

  it("leaves them alone when told to", () => {
    const { machine, calls } = kernelWith(5);
    expect(DmaMemory.allocate(machine, 4 * MIB, { hugePages: "no" }).pageSize).toBe(4 * KIB);
    expect(calls).not.toContain("madvise 14");
  });

  it("does not let an error that says nothing about memory pass for a lack of it", () => {
    const { machine } = kernelWith(0);
    const syscalls = strictSyscalls({
      memfd: () => {
        throw refused("memfd_create", "EMFILE");
      },
      mmap: machine.syscalls.mmap,
    });
    const error = errorOf(() => DmaMemory.allocate({ syscalls }, 4 * MIB, { backing: "memfd" }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errno: errno.EMFILE });
  });
});

describe("DmaMemory's life", () => {
  it("stays while it is mapped for devices", () => {
    const { machine, calls } = kernelWith(0);
    const memory = DmaMemory.allocate(machine, 4096);
    memory.retain();
    memory.retain();
    const before = calls.length;
    expect(errorOf(() => memory.release())).toMatchObject({ code: "ERR_IOSPAN_BUSY" });
    expect(errorOf(() => memory.release()).message).toContain("2 times");
    memory.unretain();
    expect(errorOf(() => memory.release()).code).toBe("ERR_IOSPAN_BUSY");
    expect(memory.released).toBe(false);
    expect(calls).toHaveLength(before);
    memory.unretain();
    memory.release();
    expect(memory.released).toBe(true);
  });

  it("cannot be mapped again once it is released", () => {
    const memory = DmaMemory.allocate(kernelWith(0).machine, 4096);
    memory.release();
    expect(errorOf(() => memory.retain()).code).toBe("ERR_IOSPAN_RELEASED");
    expect(errorOf(() => memory.bytes).code).toBe("ERR_IOSPAN_RELEASED");
  });

  it("closes its file when it is released, once", () => {
    const { machine, calls } = kernelWith(0);
    const memory = DmaMemory.allocate(machine, 4096, { backing: "memfd" });
    expect(memory.fd).toBe(11);
    memory.release();
    memory.release();
    memory[Symbol.dispose]();
    expect(calls.filter((call) => call === "close 11")).toHaveLength(1);
  });

  it("closes its file also when unmapping fails", () => {
    const { machine, calls } = kernelWith(0);
    const syscalls = faulty(machine.syscalls);
    const memory = DmaMemory.allocate({ syscalls }, 4096, { backing: "memfd" });
    const unmapping = { match: ({ name }: Call) => name === "munmap", errno: errno.ENOMEM };
    let refusals = 2; // the release tries twice
    syscalls.fault = { ...unmapping, nth: 1, match: (call) => unmapping.match(call) && refusals-- > 0 };
    memory.release();
    expect(calls).toContain("close 11");
    expect(memory.released).toBe(true);
  });

  it("has no file unless asked for one", () => {
    expect(DmaMemory.allocate(kernelWith(0).machine, 4096).fd).toBeUndefined();
  });

  it("does not give out the number of a file that is closed: it may be another's by now", () => {
    const memory = DmaMemory.allocate(kernelWith(0).machine, 4096, { backing: "memfd" });
    memory.release();
    expect(memory.fd).toBeUndefined();
  });
});

describe("DmaMemory's machine", () => {
  const kernel = machineOne();
  const wrapped = (syscalls: Syscalls) => ({ syscalls: traced(faulty(syscalls), () => {}) });

  it.each([
    ["another simulated machine", kernel, machineOne()],
    ["another one, though the calls of both are traced", wrapped(kernel), wrapped(machineOne())],
  ])("is not %s", async (_, own, other) => {
    await using space = await IoAddressSpace.open(other, ["0000:02:00.0"]);
    using memory = DmaMemory.allocate(own, 4096);
    const error = await errorFrom(space.map(memory));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
    expect(error.hint).toContain("DmaMemory.allocate(machine");
    expect(space.mappings).toEqual([]);
    memory.release();
  });

  const byHand = (inner: Syscalls): Machine => ({
    syscalls: new Proxy(inner, {
      get(_, name) {
        if (name === "kernel") return undefined;
        const member: unknown = Reflect.get(inner, name);
        return typeof member === "function" ? member.bind(inner) : member;
      },
    }),
  });

  it.each([
    ["traced", wrapped(kernel), kernel],
    ["not traced, for a space that is", kernel, wrapped(kernel)],
    ["traced, for a space that is traced otherwise", wrapped(kernel), wrapped(kernel)],
    ["behind calls that do not tell their kernel", byHand(kernel), kernel],
    ["that of a space whose calls do not tell their kernel", kernel, byHand(kernel)],
  ])("may be %s", async (_, own, of) => {
    await using space = await IoAddressSpace.open(of, ["0000:02:00.0"]);
    using memory = DmaMemory.allocate(own, 4096);
    using mapping = await space.map(memory);
    expect(mapping.mapped).toBe(true);
  });
});

describe("DmaMemory on Linux", () => {
  needsLinux();
  let machine: Machine;
  beforeAll(() => {
    if (onLinux) machine = { syscalls: linuxSyscalls() };
  });

  it("is memory of every linux(), and of no simulated machine", () => {
    using memory = DmaMemory.allocate(linux(), 4096);
    memory.requireOf(linux());
    expect(errorOf(() => memory.requireOf(machineOne())).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });

  it("is zeroed memory that keeps what is written", () => {
    using memory = DmaMemory.allocate(machine, 5000);
    expect(memory.bytes.length).toBe(memory.size);
    expect(memory.bytes.every((byte) => byte === 0)).toBe(true);
    memory.bytes.set([1, 2, 3]);
    expect([...memory.bytes.subarray(0, 4)]).toEqual([1, 2, 3, 0]);
  });

  it("is not copied to children, which could take the pages from the devices", () => {
    using memory = DmaMemory.allocate(machine, 5 * MIB);
    const smaps = fs.readFileSync("/proc/self/smaps", "utf8");
    const at = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m).find((entry) => {
      const [start, end] = entry.slice(0, entry.indexOf(" ")).split("-");
      return BigInt(`0x${start}`) <= memory.address && memory.address < BigInt(`0x${end}`);
    });
    expect(at).toMatch(/^VmFlags:.*\bdc\b/m);
  });

  it.each([4 * KIB, 64 * KIB, 2 * MIB, 16 * MIB])("can be aligned to %i bytes", (alignment) => {
    using memory = DmaMemory.allocate(machine, 1, { alignment, hugePages: "no" });
    expect(memory.address % BigInt(alignment)).toBe(0n);
    expect(memory.size).toBe(Math.max(alignment, machine.syscalls.pageSize));
    memory.bytes[memory.size - 1] = 1;
    expect(isMapped(memory.address, memory.size)).toBe(true);
  });

  it("reads zeros through a view that outlived it", () => {
    const memory = DmaMemory.allocate(machine, 3 * MIB);
    const view = memory.bytes.fill(1);
    memory.release();
    expect(view.every((byte) => byte === 0)).toBe(true);
  });

  it.each([64 * KIB, 4 * MIB])("shares its bytes with its file, from the first on (%i bytes)", (size) => {
    using memory = DmaMemory.allocate(machine, size, { backing: "memfd" });
    const file = memory.fd ?? fd(-1);
    memory.bytes.set([11, 22, 33]);
    memory.bytes[memory.size - 1] = 44;
    const [head, tail] = [new Uint8Array(3), new Uint8Array(1)];
    machine.syscalls.pread(file, head, 0n);
    machine.syscalls.pread(file, tail, BigInt(memory.size - 1));
    expect([...head, ...tail]).toEqual([11, 22, 33, 44]);
    machine.syscalls.pwrite(file, Uint8Array.of(55), 1n);
    expect(memory.bytes[1]).toBe(55);
  });

  const variants: readonly (readonly [string, DmaMemoryOptions, number])[] = [
    ["small", {}, 4096],
    ["large", {}, 4 * MIB],
    ["aligned", { alignment: 4 * MIB, hugePages: "no" }, MIB],
    ["shared", { backing: "memfd" }, 4 * MIB],
    ["huge, of which there may be none", { hugePages: "2MiB" }, 4 * MIB],
    ["huge and shared", { hugePages: "2MiB", backing: "memfd" }, 4 * MIB],
  ];

  it.each(variants)("leaves nothing behind, whichever call fails: %s", (_, options, size) => {
    const pages = new MappedPages();
    const syscalls = faulty(pages.watching(machine.syscalls));
    for (let nth = 1; ; nth += 1) {
      const files = openFds();
      syscalls.fault = { nth, errno: errno.ENOMEM };
      const failure = outcomeOf(() => DmaMemory.allocate({ syscalls }, size, options).release());
      const reached = syscalls.failed;
      syscalls.fault = undefined;
      expect({ nth, reached, files: openFds() }).toEqual({ nth, reached, files });
      expect({ nth, reached, pages: pages.count }).toEqual({ nth, reached, pages: 0 });
      if (reached === undefined) return;
      if (failure !== undefined) expect(failure).toSatisfy(isExplained);
    }
  });

  it("is gone from the address space when it could not be made", () => {
    const tried: bigint[] = [];
    const syscalls = faulty(new MappedPages().watching(machine.syscalls));
    const match = ({ name, address }: Call) => {
      if (name === "madvise" && address !== undefined) tried.push(address);
      return name === "madvise";
    };
    syscalls.fault = { match, nth: 1, errno: errno.ENOMEM };
    thrownBy(() => DmaMemory.allocate({ syscalls }, 4096));
    expect(tried).toHaveLength(1);
    for (const address of tried) expect(isMapped(address, 4096)).toBe(false);
  });
});

function isExplained(failure: unknown): boolean {
  return failure instanceof SyscallError || (failure instanceof Error && failure.name === "IospanError");
}

function outcomeOf(action: () => void): unknown {
  try {
    action();
    return undefined;
  } catch (error) {
    return error;
  }
}
