import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IntervalMap } from "../../src/sim/interval-map.js";

const SIZE = 24;

describe("an interval map", () => {
  it("is an array of numbers, remembered in ranges", () => {
    const operation = fc.record({
      kind: fc.constantFrom("insert", "remove"),
      start: fc.integer({ min: 0, max: SIZE - 1 }),
      length: fc.integer({ min: 0, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const map = new IntervalMap<readonly number[]>((value, from, to) => value.slice(from, to));
        const cells = new Array<number | undefined>(SIZE + 8).fill(undefined);
        for (const [stamp, { kind, start, length }] of operations.entries()) {
          const end = start + length;
          if (kind === "remove") {
            const removed = map.remove(start, end).flatMap(({ value }) => value);
            expect(removed).toEqual(cells.slice(start, end).filter((cell) => cell !== undefined));
            cells.fill(undefined, start, end);
          } else if (length > 0 && map.first(start, end) === undefined) {
            const values = Array.from({ length }, (_, at) => 100 * stamp + at);
            map.insert(start, end, values);
            for (const [at, value] of values.entries()) cells[start + at] = value;
          }
          const seen = cells.map((_, key) => {
            const found = map.at(key);
            return found?.value[key - found.start];
          });
          expect(seen).toEqual(cells);
          const filled = map.within(0, cells.length).reduce((sum, interval) => sum + interval.end - interval.start, 0);
          const empty = map.gaps(0, cells.length).reduce((sum, [from, to]) => sum + to - from, 0);
          expect([filled + empty, filled]).toEqual([cells.length, cells.filter((cell) => cell !== undefined).length]);
        }
      }),
    );
  });
});
