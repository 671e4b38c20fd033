import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_ANSWER, PhysicalMemory, type RegisterWindow } from "../../../src/sim/hw/physical-memory.js";

const PAGE = 4096;
const MiB = 2 ** 20;
const GiB = 2 ** 30;

function bytes(pages: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(pages * PAGE);
}

/** Two banks of 16 pages each, with a gap. */
function small(): PhysicalMemory {
  return new PhysicalMemory(PAGE, [
    { start: GiB, size: 16 * PAGE },
    { start: 4 * GiB, size: 16 * PAGE },
  ]);
}

describe("physical memory", () => {
  it("begins at 1 GiB unless the machine says otherwise", () => {
    expect(new PhysicalMemory(PAGE).allocate(bytes(1), PAGE)).toBe(GiB);
    expect(new PhysicalMemory(PAGE, [{ start: 0x8000_0000, size: GiB }]).allocate(bytes(1), PAGE)).toBe(0x8000_0000);
  });

  it("has the bytes where the storage is", () => {
    const memory = new PhysicalMemory(PAGE);
    const storage = bytes(2);
    const address = memory.allocate(storage, PAGE)!;
    expect(memory.write(address + PAGE - 2, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    expect([...storage.subarray(PAGE - 2, PAGE + 2)]).toEqual([1, 2, 3, 4]);
    const into = new Uint8Array(4);
    expect(memory.read(address + PAGE - 2, into)).toBe(true);
    expect([...into]).toEqual([1, 2, 3, 4]);
  });

  it("transfers across pieces, and not where one is missing", () => {
    const memory = new PhysicalMemory(PAGE, [{ start: GiB, size: 2 * PAGE }]);
    const first = memory.allocate(bytes(1), PAGE)!;
    const second = memory.allocate(bytes(1), PAGE)!;
    expect(second).toBe(first + PAGE);
    expect(memory.write(second - 2, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    expect(memory.read32(second - 2)).toBe(0x0403_0201);
    expect(memory.read64(second - 4)).toBe(0x0403_0201_0000n);
    expect(memory.write32(second - 2, 0x8070_6050)).toBe(true);
    expect(memory.read32(second - 2)).toBe(0x8070_6050);
    expect(memory.read(second + PAGE - 2, new Uint8Array(4))).toBe(false);
    expect(memory.write(second + PAGE - 2, new Uint8Array(4))).toBe(false);
    expect(memory.read(0, new Uint8Array(1))).toBe(false);
  });

  it("tells nothing from zero", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.allocate(bytes(1), PAGE)!;
    expect([memory.read32(address), memory.read64(address), memory.readHalves(address)]).toEqual([0, 0n, true]);
    const nowhere = GiB - PAGE;
    expect([memory.read32(nowhere), memory.read64(nowhere)]).toEqual([NO_ANSWER, undefined]);
    expect([memory.readHalves(nowhere), memory.write32(nowhere, 1), memory.write64(nowhere, 1n)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it("answers for free RAM, and keeps nothing there", () => {
    const memory = new PhysicalMemory(PAGE, [{ start: GiB, size: 4 * PAGE }]);
    const address = memory.allocate(bytes(2), PAGE)!;
    memory.write(address + PAGE - 2, Uint8Array.of(1, 2, 3, 4));
    memory.release(address, PAGE);
    const read = Uint8Array.of(9, 9, 9, 9);
    expect(memory.read(address + PAGE - 2, read)).toBe(true);
    expect([...read]).toEqual([0, 0, 3, 4]);
    expect(memory.write(address + PAGE - 2, Uint8Array.of(5, 6, 7, 8))).toBe(true);
    expect(memory.read(address + PAGE - 2, read)).toBe(true);
    expect([...read]).toEqual([0, 0, 7, 8]);
    expect(memory.read(GiB + 4 * PAGE - 2, read)).toBe(false);
  });

  it("reads and writes words, whose upper half is not a sign", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.allocate(bytes(1), PAGE)!;
    expect(memory.write64(address + 8, 0xfedc_ba98_8765_4321n)).toBe(true);
    expect([memory.read32(address + 8), memory.read32(address + 12)]).toEqual([0x8765_4321, 0xfedc_ba98]);
    expect(memory.read64(address + 8)).toBe(0xfedc_ba98_8765_4321n);
    expect(memory.readHalves(address + 8)).toBe(true);
    expect([memory.low >>> 0, memory.high >>> 0]).toEqual([0x8765_4321, 0xfedc_ba98]);
    // Not aligned.
    expect(memory.readHalves(address + 5)).toBe(true);
    expect([memory.low >>> 0, memory.high >>> 0]).toEqual([0x2100_0000, 0x9887_6543]);
    expect(memory.read32(address + 9)).toBe(0x9887_6543);
  });

  it("follows pages that move, and storage that is not aligned", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.allocate(bytes(4), PAGE)!;
    memory.write32(address + PAGE, 7);
    memory.write32(address + 3 * PAGE, 9);
    expect(memory.read32(address + PAGE)).toBe(7);
    const elsewhere = new Uint8Array(new ArrayBuffer(2 * PAGE + 1), 1);
    memory.move(address + PAGE, elsewhere);
    expect(memory.read32(address + PAGE)).toBe(7);
    memory.write32(address + PAGE, 8);
    expect(elsewhere[0]).toBe(8);
    expect([memory.read32(address + 3 * PAGE), memory.read32(address)]).toEqual([9, 0]);
    memory.write(address + PAGE, Uint8Array.of(5));
    expect(elsewhere[0]).toBe(5);
  });

  it("keeps pages for as long as somebody holds them", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.allocate(bytes(4), PAGE)!;
    memory.hold(address + PAGE, 2 * PAGE);
    memory.release(address, 4 * PAGE);
    expect(memory.used).toBe(2 * PAGE);
    expect(memory.exists(address, PAGE)).toBe(false);
    expect(memory.exists(address, 4 * PAGE)).toBe(true);
    expect(memory.read32(address + 2 * PAGE)).toBe(0);
    memory.release(address + PAGE, 2 * PAGE);
    expect(memory.used).toBe(0);
    expect(memory.exists(address, 4 * PAGE)).toBe(false);
  });

  it("forgets where more pages lay than it remembers", () => {
    const memory = new PhysicalMemory(PAGE);
    const pages = 5000;
    const address = memory.allocate(bytes(pages), PAGE)!;
    for (let page = 0; page < pages; page++) memory.write32(address + page * PAGE, page + 1);
    for (let page = 0; page < pages; page++) expect(memory.read32(address + page * PAGE)).toBe(page + 1);
    memory.release(address, pages * PAGE);
    for (let page = 0; page < pages; page++) expect(memory.read32(address + page * PAGE)).toBe(0);
  });

  it("asks registers in windows", () => {
    const memory = new PhysicalMemory(PAGE);
    const written: [number, number[]][] = [];
    const window: RegisterWindow = {
      read: (offset, into) => into.fill(offset),
      write: (offset, from) => written.push([offset, [...from]]),
    };
    memory.place(0x900_0000, PAGE, window);
    expect(memory.read32(0x900_0008)).toBe(0x0808_0808);
    expect(memory.read64(0x900_0001)).toBe(0x0101_0101_0101_0101n);
    memory.write32(0x900_0010, 0x0403_0201);
    expect(written).toEqual([[0x10, [1, 2, 3, 4]]]);
    expect(memory.read32(0x900_1000)).toBe(NO_ANSWER);
  });
});

describe("RAM banks", () => {
  it("give out no address twice while there are others", () => {
    const memory = small();
    const seen = new Set<number>();
    for (let i = 0; i < 32; i++) {
      const address = memory.allocate(bytes(1), PAGE)!;
      expect(seen).not.toContain(address);
      seen.add(address);
      memory.release(address, PAGE);
    }
    expect([...seen].every((at) => (at < 2 * GiB ? at < GiB + 16 * PAGE : at < 4 * GiB + 16 * PAGE))).toBe(true);
    expect(seen).toContain(memory.allocate(bytes(1), PAGE));
  });

  it("say when they have no room", () => {
    const memory = small();
    expect(memory.allocate(bytes(17), PAGE)).toBeUndefined();
    expect(memory.allocate(bytes(16), PAGE)).toBe(GiB);
    expect(memory.allocate(bytes(16), PAGE)).toBe(4 * GiB);
    expect([memory.allocate(bytes(1), PAGE), memory.reserve(1)]).toEqual([undefined, undefined]);
    memory.release(4 * GiB + 3 * PAGE, 2 * PAGE);
    expect(memory.allocate(bytes(3), PAGE)).toBeUndefined();
    expect(memory.allocate(bytes(2), PAGE)).toBe(4 * GiB + 3 * PAGE);
    expect(memory.used).toBe(32 * PAGE);
  });

  it("are used again below a limit, although there are fresh addresses above", () => {
    const memory = small();
    const low = memory.allocate(bytes(15), PAGE)!;
    const rest = memory.reserve(PAGE, PAGE, 2 * GiB)!;
    expect(rest).toBe(GiB + 15 * PAGE);
    expect([memory.reserve(PAGE, PAGE, 2 * GiB), memory.reserve(64, PAGE, GiB)]).toEqual([undefined, undefined]);
    memory.release(low + 3 * PAGE, PAGE);
    expect(memory.reserve(PAGE, PAGE, 2 * GiB)).toBe(low + 3 * PAGE);
    memory.free(rest, PAGE);
    expect(memory.reserve(PAGE)).toBe(4 * GiB);
    expect(memory.reserve(PAGE, PAGE, rest + PAGE - 1)).toBeUndefined();
    expect(memory.reserve(PAGE, PAGE, rest + PAGE)).toBe(rest);
  });

  it("are searched to their end and from their start when addresses have to be used again", () => {
    const memory = small();
    memory.allocate(bytes(16), PAGE);
    memory.allocate(bytes(16), PAGE);
    for (const page of [9, 3, 5]) {
      memory.release(GiB + page * PAGE, PAGE);
      expect(memory.allocate(bytes(1), PAGE)).toBe(GiB + page * PAGE);
    }
    // What has been free for longer comes first.
    for (const page of [2, 12, 4, 7]) memory.release(GiB + page * PAGE, PAGE);
    const order = [7, 12, 2, 4].map((page) => GiB + page * PAGE);
    expect(order.map(() => memory.allocate(bytes(1), PAGE))).toEqual(order);
  });

  it("keep alignment and phase", () => {
    const memory = new PhysicalMemory(PAGE);
    memory.allocate(bytes(1), PAGE);
    expect(memory.allocate(bytes(2), 2 * MiB)).toBe(GiB + 2 * MiB);
    expect(memory.allocate(bytes(2), 2 * MiB, 12 * PAGE)).toBe(GiB + 2 * MiB + 12 * PAGE);
  });

  it("hold what was asked for, in their own bounds and without overlaps, whatever came before", () => {
    const step = fc.record({
      pages: fc.integer({ min: 1, max: 9 }),
      alignment: fc.constantFrom(1, 2, 4),
      phase: fc.nat(3),
      kernel: fc.boolean(),
      free: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const memory = small();
        const held: { address: number; length: number; kernel: boolean }[] = [];
        for (const { pages, alignment, phase, kernel, free } of steps) {
          const length = pages * PAGE;
          const address = kernel
            ? memory.reserve(length, alignment * PAGE)
            : memory.allocate(bytes(pages), alignment * PAGE, (phase % alignment) * PAGE);
          if (address === undefined) {
            const gone = held.splice(free % Math.max(held.length, 1), 1)[0];
            if (gone === undefined) continue;
            if (gone.kernel) memory.free(gone.address, gone.length);
            else memory.release(gone.address, gone.length);
            continue;
          }
          const end = address + length;
          expect((address / PAGE) % alignment).toBe(kernel ? 0 : phase % alignment);
          expect([GiB, 4 * GiB].some((start) => address >= start && end <= start + 16 * PAGE)).toBe(true);
          expect(held.some((other) => address < other.address + other.length && end > other.address)).toBe(false);
          held.push({ address, length, kernel });
        }
        const total = (kernel: boolean) =>
          held.filter((each) => each.kernel === kernel).reduce((sum, { length }) => sum + length, 0);
        expect([memory.used, memory.reserved]).toEqual([total(false), total(true)]);
      }),
    );
  });
});

describe("a hole", () => {
  it("is not released, and nothing around it", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.allocate(bytes(5), PAGE)!;
    memory.release(address + 2 * PAGE, PAGE);
    expect(() => memory.release(address, 5 * PAGE)).toThrow("not all of 0x40000000 to 0x40005000 exists");
    expect(() => memory.release(address + 2 * PAGE, PAGE)).toThrow("exists");
    expect(memory.used).toBe(4 * PAGE);
  });
});

describe("the kernel's own memory", () => {
  it("is zeros, whole pages, and not counted as used", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.reserve(100)!;
    expect([memory.used, memory.reserved]).toEqual([0, PAGE]);
    expect([memory.read32(address), memory.read32(address + PAGE - 4)]).toEqual([0, 0]);
    memory.write32(address, 5);
    memory.free(address, 100);
    expect(memory.reserved).toBe(0);
    expect(memory.exists(address, PAGE)).toBe(false);
    expect(memory.read32(address)).toBe(0);
  });

  it("is aligned as asked, and lies together, out of the way of processes", () => {
    const memory = new PhysicalMemory(PAGE);
    const tables = Array.from({ length: 100 }, () => {
      memory.allocate(bytes(512), 2 * MiB);
      return memory.reserve(PAGE)!;
    });
    expect(tables.map((table) => table - tables[0]!)).toEqual(tables.map((_, i) => i * PAGE));
    expect(memory.reserve(8 * PAGE, 8 * PAGE)! % (8 * PAGE)).toBe(0);
    expect(memory.reserve(MiB, MiB)! % MiB).toBe(0);
    expect(memory.reserve(PAGE, 8 * MiB)! % (8 * MiB)).toBe(0);
  });

  it("shares its area with processes when there is nothing else", () => {
    const memory = new PhysicalMemory(PAGE, [{ start: GiB, size: 4 * MiB }]);
    expect(memory.reserve(PAGE)).toBe(GiB);
    const taken = new Set([GiB]);
    for (let page = 1; page < 1024; page++) {
      const address = page % 3 === 0 ? memory.reserve(PAGE)! : memory.allocate(bytes(1), PAGE)!;
      expect(taken).not.toContain(address);
      taken.add(address);
    }
    expect([memory.reserve(PAGE), memory.allocate(bytes(1), PAGE)]).toEqual([undefined, undefined]);
    expect(memory.used + memory.reserved).toBe(4 * MiB);
  });

  it("is not freed where it was not reserved", () => {
    const memory = new PhysicalMemory(PAGE);
    const address = memory.reserve(PAGE)!;
    const other = memory.allocate(bytes(1), PAGE)!;
    expect(() => memory.free(other, PAGE)).toThrow("was not reserved");
    expect(() => memory.free(address, 2 * PAGE)).toThrow("was not reserved");
    memory.free(address, PAGE);
    expect(() => memory.free(address, PAGE)).toThrow("was not reserved");
  });
});
