import { describe, expect, it } from "vitest";
import { IOMMU_IOAS_CHANGE_PROCESS, ioasChangeProcess } from "../../../src/abi/iommufd-ioas.js";
import { MAP_SHARED, MFD_HUGETLB, PROT_READ, PROT_WRITE } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE } from "../program.js";
import { A, B, FIXED_IOVA, type IommufdProgram, machine, READABLE, WRITEABLE } from "./iommufd-program.js";

const P = BigInt(PAGE);
const LAST = 2n ** 64n - 1n;
const HUGE = 2 ** 21;

function attached(options = {}) {
  const program = machine(options);
  const { iommufd, ioas, devices } = program.attached(A);
  return { program, iommufd, ioas, device: devices[0]!.cdev };
}

function mapped(program: IommufdProgram, fd: Fd, length: number, offset = 0n): Uint8Array {
  const address = program.kernel.mmap({ length, prot: PROT_READ | PROT_WRITE, flags: MAP_SHARED, fd, offset });
  return program.bytes(address, length);
}

describe("IOMMU_IOAS_MAP_FILE", () => {
  it.each([
    ["a flag that is none", { flags: 8 | FIXED_IOVA | READABLE, iova: LAST }, "EOPNOTSUPP"],
    ["the last address", { iova: LAST }, "EOVERFLOW"],
    ["all addresses", { length: LAST }, "EOVERFLOW"],
    ["no access", { flags: FIXED_IOVA, length: 0 }, "EINVAL"],
    ["nothing", { length: 0, fd: 99 }, "EINVAL"],
    ["a part that wraps", { start: LAST, length: PAGE, fd: 99 }, "EOVERFLOW"],
    ["no file", { fd: 99, iova: 0x800 }, "EBADF"],
    ["an odd address", { iova: 0x800 }, "EINVAL"],
    ["an odd part", { start: 0x800 }, "EINVAL"],
    ["over a mapping", { iova: 0x40000 }, "EEXIST"],
    ["over the window of the interrupts", { iova: 0x8000000 }, "EINVAL"],
    ["beyond the end", { start: 4 * PAGE }, "EINVAL"],
    ["across the end", { start: 3 * PAGE, length: 2 * PAGE }, "EINVAL"],
    ["its last page", { start: 3 * PAGE }, 0n],
  ])("%s", (_, wish, expected) => {
    const { program, iommufd, ioas } = attached();
    const fd = program.kernel.memfd("memory", 0, 4 * PAGE);
    program.ioasMapFile(iommufd, ioas, { fd, iova: 0x40000 });
    const before = program.kernel.pinnedPages;
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd, ...wish }))).toBe(expected);
    expect(program.kernel.pinnedPages).toBe(before + (expected === 0n ? 1 : 0));
  });

  it("wants a memfd, and its last page whole", () => {
    const { program, iommufd, ioas, device } = attached();
    const map = (fd: number, start = 0) => outcome(() => program.ioasMapFile(iommufd, ioas, { fd, start }));
    expect(map(program.kernel.open("/dev/null", 2))).toBe("EINVAL");
    expect(map(device)).toBe("EINVAL");
    expect(map(program.kernel.eventfd())).toBe("EINVAL");
    const odd = program.kernel.memfd("odd", 0, PAGE + 8);
    expect(map(odd, PAGE)).toBe("EINVAL");
    expect(map(odd)).toBe(0n);
  });

  it("takes anything while there is no page table, which no device can then get", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const fd = program.kernel.memfd("memory", 0, PAGE);
    expect(program.ioasMapFile(iommufd, ioas, { fd, start: PAGE })).toBe(0n);
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd: 99, iova: 0x1000 }))).toBe("EBADF");
    const { cdev } = program.bound(A, iommufd);
    expect(outcome(() => program.attach(cdev, ioas))).toBe("EINVAL");
    expect(program.kernel.pinnedPages).toBe(0);
  });

  it("maps the file's pages, whether the process has them mapped or not", () => {
    const { program, iommufd, ioas, device } = attached();
    const fd = program.kernel.memfd("memory", 0, 4 * PAGE);
    const before = mapped(program, fd, 4 * PAGE);
    before.fill(0x77);
    program.ioasMapFile(iommufd, ioas, { fd, start: PAGE, length: 2 * PAGE, iova: 0x40000 });
    const edu = program.edu(device);
    edu.fetch(0x40000n, 64);
    edu.store(0x41000n, 64);
    edu.store(0x42000n, 64);
    expect(program.kernel.log.filter((line) => line.includes("F_TRANSLATION"))).toHaveLength(1);
    before.fill(0, 2 * PAGE, 2 * PAGE + 64);
    edu.store(0x41000n, 64);
    expect(before.subarray(2 * PAGE, 2 * PAGE + 64).every((byte) => byte === 0x77)).toBe(true);
  });

  it("keeps the file, whose pages go with the last mapping", () => {
    const { program, iommufd, ioas, device } = attached();
    const { kernel } = program;
    const fd = kernel.memfd("memory", 0, 4 * PAGE);
    program.ioasMapFile(iommufd, ioas, { fd, length: 4 * PAGE, iova: 0x40000 });
    program.copy(iommufd, { ioas, iova: 0x80000n }, { ioas, iova: 0x41000n });
    kernel.close(fd);
    const edu = program.edu(device);
    edu.store(0x40000n, 64);
    expect(kernel.log.join()).not.toContain("F_TRANSLATION");
    program.ioasUnmap(iommufd, ioas, 0x40000, 4 * PAGE);
    edu.store(0x80000n, 64);
    expect(kernel.log.join()).not.toContain("F_TRANSLATION");
    expect(kernel.usedMemory).toBeGreaterThan(0);
    program.ioasUnmap(iommufd, ioas, 0, LAST);
    expect([kernel.pinnedPages, kernel.usedMemory]).toEqual([0, 0]);
  });

  it("lets go of a file that it could not map", () => {
    const { program, iommufd, ioas } = attached();
    const fd = program.kernel.memfd("memory", 0, PAGE);
    mapped(program, fd, PAGE).fill(1);
    program.ioasMapFile(iommufd, ioas, { fd });
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd }))).toBe("EEXIST");
    const other = program.ioas(iommufd);
    program.ioasMapFile(iommufd, other, { fd });
    program.destroy(iommufd, other);
    program.ioasUnmap(iommufd, ioas, 0, LAST);
    for (const { start, end } of program.kernel.addressSpace) program.kernel.munmap(BigInt(start), end - start);
    program.kernel.close(fd);
    expect(program.kernel.usedMemory).toBe(0);
  });

  it("maps huge pages as huge pages, and takes them from their pool", () => {
    const { program, iommufd, ioas } = attached({ hugepages2M: 2 });
    const { kernel } = program;
    const fd = kernel.memfd("huge", MFD_HUGETLB, 2 * HUGE);
    program.ioasMapFile(iommufd, ioas, { fd, length: 2 * HUGE, iova: HUGE });
    expect(kernel.readFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").trim()).toBe("0");
    const [{ mappings } = { mappings: [] }] = kernel.iommufds[0]!.ioases[0]!.hwpts;
    expect(mappings.every(({ physicalAddress }) => physicalAddress % HUGE === 0)).toBe(true);
    const more = kernel.memfd("more", MFD_HUGETLB, HUGE);
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd: more, length: HUGE, iova: 8 * HUGE }))).toBe(
      "ENOMEM",
    );
    program.ioasUnmap(iommufd, ioas, 0, LAST);
    kernel.close(fd);
    expect(kernel.readFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").trim()).toBe("2");
  });

  it("counts pages as other memory", () => {
    const { program, iommufd, ioas } = attached({ capabilities: [], memlock: 4 * PAGE });
    const fd = program.kernel.memfd("memory", 0, 8 * PAGE);
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd, length: 8 * PAGE }))).toBe("ENOMEM");
    program.ioasMapFile(iommufd, ioas, { fd, length: 4 * PAGE });
    expect([program.kilobytes("VmLck"), program.kilobytes("VmPin")]).toEqual([0, 16]);
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd, iova: 0x10000 }))).toBe("ENOMEM");
  });

  it("is copied for as much as it was mapped for", () => {
    const { program, iommufd, ioas } = attached();
    const fd = program.kernel.memfd("memory", 0, PAGE);
    program.ioasMapFile(iommufd, ioas, { fd, flags: FIXED_IOVA | READABLE });
    const copy = (flags: number) => outcome(() => program.copy(iommufd, { ioas, iova: 0x9000n, flags }, { ioas }));
    expect(copy(FIXED_IOVA | READABLE | WRITEABLE)).toBe("EPERM");
    expect(copy(FIXED_IOVA | READABLE)).toBe(0x9000n);
  });

  it("may leave the place to the kernel, which aligns it as the part of the file is", () => {
    const { program, iommufd, ioas } = attached();
    const fd = program.kernel.memfd("memory", 0, 64 * PAGE);
    const choose = (start: number, pages: number) =>
      program.ioasMapFile(iommufd, ioas, { fd, start, length: pages * PAGE, flags: READABLE, iova: 0xdead });
    expect(choose(0, 1)).toBe(P);
    expect(choose(16 * PAGE, 16)).toBe(16n * P);
    expect(choose(PAGE, 16)).toBe(32n * P);
  });

  it("is in every page table", () => {
    const program = machine();
    const { iommufd, ioas, devices } = program.attached(A, B);
    const fd = program.kernel.memfd("memory", 0, PAGE);
    const bytes = mapped(program, fd, PAGE);
    program.ioasMapFile(iommufd, ioas, { fd, iova: 0x40000 });
    for (const { cdev } of devices) {
      bytes.fill(0x55);
      program.edu(cdev).store(0x40000n, 16);
      expect(bytes[0]).toBe(0);
    }
    expect(program.kernel.pinnedPages).toBe(1);
  });

  it("came with Linux 6.13", () => {
    const { program, iommufd, ioas } = attached({ release: "6.12.0" });
    const fd = program.kernel.memfd("memory", 0, PAGE);
    expect(outcome(() => program.ioasMapFile(iommufd, ioas, { fd }))).toBe("ENOTTY");
  });
});

describe("IOMMU_IOAS_CHANGE_PROCESS", () => {
  it("is for files alone", () => {
    const { program, iommufd, ioas } = attached();
    const change = (fields = {}) =>
      outcome(() => program.kernel.ioctl(iommufd, IOMMU_IOAS_CHANGE_PROCESS, ioasChangeProcess.encode(fields)));
    expect(change()).toBe(0);
    program.ioasMapFile(iommufd, ioas, { fd: program.kernel.memfd("memory", 0, PAGE) });
    expect([change(), change({ __reserved: 1 })]).toEqual([0, "EOPNOTSUPP"]);
    program.ioasMap(iommufd, ioas, { va: program.memory(PAGE), iova: 0x10000 });
    expect(change()).toBe("EINVAL");
  });
});
