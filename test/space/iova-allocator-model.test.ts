import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { IospanError } from "../../src/errors.js";
import { type IovaRange, iova } from "../../src/iova.js";
import { IovaAllocator } from "../../src/space/iova-allocator.js";
import { contains, normalize } from "../../src/space/iova-ranges.js";

const PAGE = 4096;
const WINDOW_PAGES = 16;

/** Four small windows where things go wrong: at 0, at Arm's MSI doorbell, at 2^48 and at the end of the space. */
const windows = [0n, 0x8000000n - 8n * 4096n, 2n ** 48n - 8n * 4096n, 2n ** 64n - 16n * 4096n];
const pagesOfWindows = windows.flatMap((base) =>
  Array.from({ length: WINDOW_PAGES }, (_, i) => base + BigInt(i * PAGE)),
);

/** What is live, in a list; every question answered by looking at all of it. */
class Model {
  readonly live = new Map<bigint, bigint>();
  ranges: readonly IovaRange[];
  pageSize = PAGE;

  constructor(ranges: readonly IovaRange[]) {
    this.ranges = normalize(ranges);
  }

  overlap(start: bigint, size: bigint): boolean {
    return [...this.live].some(([other, length]) => other < start + size && start < other + length);
  }

  isFree(start: bigint, size: bigint): boolean {
    return contains(this.ranges, start, size) && !this.overlap(start, size);
  }

  /** The lowest place, if any; 0 is none. */
  lowest(size: number, wanted: (start: bigint) => boolean): bigint | undefined {
    return pagesOfWindows.find(
      (start) =>
        start > 0n && start % BigInt(this.pageSize) === 0n && wanted(start) && this.isFree(start, BigInt(size)),
    );
  }

  /** Pages that are valid and not live, joined. */
  holes(): IovaRange[] {
    const size = BigInt(this.pageSize);
    const free = pagesOfWindows.filter((start) => start % size === 0n && this.isFree(start, size));
    return normalize(free.map((start) => range(start, start + size - 1n)));
  }
}

function range(start: number | bigint, end: number | bigint): IovaRange {
  return { start: iova(start), end: iova(end) };
}

/** What an action returned, or the code of the error it threw. */
function outcome<T>(action: () => T): { code?: string | undefined; value?: T } {
  try {
    return { value: action() };
  } catch (error) {
    if (error instanceof IospanError) return { code: error.code };
    throw error;
  }
}

function codeOf(action: () => unknown): string | undefined {
  return outcome(action).code;
}

const somePage = fc.constantFrom(...pagesOfWindows);
const someSize = fc.integer({ min: 1, max: 5 });

/** Up to two ranges in each window, their ends on half pages, so that some pages are cut. */
const someRanges = fc
  .array(fc.tuple(fc.constantFrom(...windows), fc.nat(31), fc.integer({ min: 1, max: 32 })), {
    minLength: 1,
    maxLength: 8,
  })
  .map((cuts) => cuts.map(([base, from, length]) => ({ base, from, to: Math.min(32, from + length) })))
  .map((cuts) => cuts.map(({ base, from, to }) => range(base + BigInt(from * 2048), base + BigInt(to * 2048) - 1n)));

const commands = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("allocate" as const), size: someSize }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("place" as const),
        size: someSize,
        modulus: fc.constantFrom(1, 2, 4, 8, 2 ** 36, 2 ** 52),
        address: fc.oneof(fc.nat(16), fc.constantFrom(2 ** 36 - 3, 2 ** 52 - 5)),
        alignment: fc.constantFrom(undefined, 1, 2, 16),
      }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("reserve" as const), start: somePage, size: someSize }) },
    { weight: 7, arbitrary: fc.record({ kind: fc.constant("release" as const), index: fc.nat(30) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("ranges" as const), ranges: someRanges }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("page" as const), size: fc.constantFrom(1, 2, 4) }) },
  ),
  { maxLength: 80, size: "max" },
);

type Command = typeof commands extends fc.Arbitrary<(infer C)[]> ? C : never;

/** Both do the command and must agree on what came of it. */
function run(command: Command, allocator: IovaAllocator, model: Model): void {
  switch (command.kind) {
    case "allocate":
      runAllocate(command.size * model.pageSize, allocator, model);
      break;
    case "place":
      runPlace(command, allocator, model);
      break;
    case "reserve":
      runReserve(command.start, command.size * model.pageSize, allocator, model);
      break;
    case "release":
      runRelease(command.index, allocator, model);
      break;
    case "ranges":
      runRanges(command.ranges, allocator, model);
      break;
    case "page":
      runPageSize(command.size * PAGE, allocator, model);
      break;
    default:
      command satisfies never;
  }
}

function runAllocate(size: number, allocator: IovaAllocator, model: Model): void {
  const expected = model.lowest(size, () => true);
  expect(size <= allocator.largestFree).toBe(expected !== undefined);
  const { code, value } = outcome(() => allocator.allocate(size));
  expect({ code, value }).toEqual({ code: expected === undefined ? "ERR_IOSPAN_NO_IOVA" : undefined, value: expected });
  if (value !== undefined) model.live.set(value, BigInt(size));
}

function runPlace(command: Command & { kind: "place" }, allocator: IovaAllocator, model: Model): void {
  const size = command.size * model.pageSize;
  const modulus = command.modulus * model.pageSize;
  const address = BigInt.asUintN(64, BigInt(command.address) * BigInt(model.pageSize));
  const alignment = command.alignment === undefined ? undefined : command.alignment * model.pageSize;
  const wanted = (start: bigint) => (start - address) % BigInt(modulus) === 0n && start % BigInt(alignment ?? 1) === 0n;
  const expected = () => {
    if (address % BigInt(Math.min(modulus, alignment ?? 1)) !== 0n) return "ERR_IOSPAN_INVALID_ARGUMENT";
    return model.lowest(size, wanted) === undefined ? "ERR_IOSPAN_NO_IOVA" : undefined;
  };
  const { code, value } = outcome(() => allocator.allocate(size, { alignment, congruentTo: { address, modulus } }));
  expect(code).toBe(expected());
  if (value === undefined) return;
  expect(wanted(value) && value > 0n && value % BigInt(model.pageSize) === 0n).toBe(true);
  expect(model.isFree(value, BigInt(size))).toBe(true);
  model.live.set(value, BigInt(size));
}

function runReserve(start: bigint, size: number, allocator: IovaAllocator, model: Model): void {
  const expected = () => {
    if (start % BigInt(model.pageSize) !== 0n) return "ERR_IOSPAN_MAP_ALIGNMENT";
    if (!contains(model.ranges, start, size)) return "ERR_IOSPAN_MAP_RANGE";
    return model.overlap(start, BigInt(size)) ? "ERR_IOSPAN_MAP_OVERLAP" : undefined;
  };
  const code = codeOf(() => allocator.reserve(start, size));
  expect(code).toBe(expected());
  if (code === undefined) model.live.set(start, BigInt(size));
}

function runRelease(index: number, allocator: IovaAllocator, model: Model): void {
  const start = [...model.live.keys()][index];
  if (start === undefined) return;
  allocator.release(start);
  model.live.delete(start);
  expect(codeOf(() => allocator.release(start))).toBe("ERR_IOSPAN_RELEASED");
}

function runRanges(ranges: readonly IovaRange[], allocator: IovaAllocator, model: Model): void {
  const normal = normalize(ranges);
  const stays = [...model.live].every(([start, size]) => contains(normal, start, size));
  expect(codeOf(() => allocator.setRanges(ranges))).toBe(stays ? undefined : "ERR_IOSPAN_MAP_RANGE");
  if (stays) model.ranges = normal;
}

function runPageSize(size: number, allocator: IovaAllocator, model: Model): void {
  const stays = [...model.live].every((each) => each.every((bytes) => bytes % BigInt(size) === 0n));
  expect(codeOf(() => allocator.setPageSize(size))).toBe(stays ? undefined : "ERR_IOSPAN_MAP_ALIGNMENT");
  if (stays) model.pageSize = size;
}

function expectAgreement(allocator: IovaAllocator, model: Model): void {
  const live = [...model.live].map(([start, size]) => range(start, start + size - 1n));
  live.sort((a, b) => (a.start < b.start ? -1 : 1));
  expect([...allocator.liveRanges()]).toEqual(live);
  expect([...allocator.freeRanges()]).toEqual(model.holes());
  expect(allocator.liveCount).toBe(live.length);
  expect([allocator.ranges, allocator.pageSize]).toEqual([model.ranges, model.pageSize]);
}

describe("IovaAllocator", () => {
  test("agrees with a list on any sequence of calls, and is whole again when all is released", () => {
    fc.assert(
      fc.property(someRanges, commands, (ranges, all) => {
        const [allocator, model] = [new IovaAllocator(ranges, PAGE), new Model(ranges)];
        for (const command of all) {
          run(command, allocator, model);
          expectAgreement(allocator, model);
        }
        for (const place of pagesOfWindows) {
          const around = [...model.live].find(([start, size]) => start <= place + 1n && place + 1n < start + size);
          expect(allocator.find(place + 1n)?.start).toBe(around?.[0]);
        }
        for (const start of [...model.live.keys()]) allocator.release(start);
        model.live.clear();
        expectAgreement(allocator, model);
        expect([...allocator.freeRanges()]).toEqual([...new IovaAllocator(model.ranges, model.pageSize).freeRanges()]);
      }),
      { numRuns: 300 },
    );
  });

  test("agrees over all pairs of reservations in a space of ten bytes, page size 1", () => {
    const spots = Array.from({ length: 10 }, (_, start) =>
      Array.from({ length: 10 - start }, (_, i) => ({ start, size: i + 1 })),
    ).flat();
    for (const a of spots) {
      for (const b of spots) {
        const allocator = new IovaAllocator([range(0, 9)], 1);
        allocator.reserve(a.start, a.size);
        const disjoint = a.start + a.size <= b.start || b.start + b.size <= a.start;
        const code = codeOf(() => allocator.reserve(b.start, b.size));
        expect(code).toBe(disjoint ? undefined : "ERR_IOSPAN_MAP_OVERLAP");
        allocator.release(a.start);
        if (disjoint) allocator.release(b.start);
        expect([...allocator.freeRanges()]).toEqual([range(0, 9)]);
      }
    }
  });

  test("allocates every size at every alignment in every subset of eight bytes", () => {
    const bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    for (let taken = 0; taken < 256; taken++) {
      for (const size of bytes) {
        for (const alignment of [1, 2, 4, 8]) {
          const allocator = new IovaAllocator([range(1, 8)], 1);
          for (const byte of bytes) if (taken & (1 << (byte - 1))) allocator.reserve(byte, 1);
          const free = (start: number) => start + size <= 9 && ((taken >> (start - 1)) & (2 ** size - 1)) === 0;
          const possible = bytes.filter((start) => start % alignment === 0 && free(start));
          const { code, value } = outcome(() => allocator.allocate(size, { alignment }));
          if (possible.length === 0) expect(code).toBe("ERR_IOSPAN_NO_IOVA");
          else expect(possible).toContain(Number(value));
        }
      }
    }
  });

  test("keeps tens of thousands of ranges apart, and joins them all again", () => {
    const allocator = new IovaAllocator([range(0, 0x7ffffff), range(0x8100000, 2n ** 48n - 1n)], PAGE);
    const initial = [...allocator.freeRanges()];
    let random = 20;
    const next = (below: number) => {
      random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
      return Math.floor((random / 2 ** 32) * below);
    };
    const starts: bigint[] = [];
    for (let i = 0; i < 60_000; i++) {
      if (next(3) > 0 || starts.length === 0) starts.push(allocator.allocate((1 + next(4)) * PAGE));
      else allocator.release(starts.splice(next(starts.length), 1)[0]!);
    }
    const live = [...allocator.liveRanges()];
    expect(live.length).toBe(starts.length);
    for (const [i, each] of live.slice(1).entries()) expect(live[i]!.end < each.start).toBe(true);
    for (const start of starts) allocator.release(start);
    expect([...allocator.freeRanges()]).toEqual(initial);
  });
});
