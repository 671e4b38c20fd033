import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OrderedMap } from "../../src/space/ordered-map.js";

type Entry = readonly [key: number, value: number];

function entries(map: OrderedMap): Entry[] {
  const found: Entry[] = [];
  map.seek(Number.NEGATIVE_INFINITY);
  while (map.next()) found.push([map.key, map.value]);
  return found;
}

function filled(given: readonly Entry[]): OrderedMap {
  const map = new OrderedMap();
  for (const [key, value] of given) {
    map.seek(key);
    map.insertAfter(key, value);
  }
  return map;
}

/** The same entries in a plain sorted array, and every question answered by looking at all of them. */
class Model {
  entries: [number, number][] = [];

  set(key: number, value: number): void {
    this.delete(key);
    this.entries.push([key, value]);
    this.entries.sort(([a], [b]) => a - b);
  }

  delete(key: number): void {
    this.entries = this.entries.filter(([existing]) => existing !== key);
  }

  floor(key: number): Entry | undefined {
    return this.entries.findLast(([existing]) => existing <= key);
  }

  atLeast(value: number, after = Number.NEGATIVE_INFINITY): Entry | undefined {
    return this.entries.find(([key, existing]) => key > after && existing >= value);
  }
}

function set(map: OrderedMap, key: number, value: number): void {
  if (map.seek(key) && map.key === key) map.value = value;
  else map.insertAfter(key, value);
}

function remove(map: OrderedMap, key: number): void {
  if (!map.seek(key) || map.key !== key) return;
  const before = map.previous() ? map.key : undefined;
  map.removeNext();
  if (before === undefined) return;
  expect(map.key, "removing moves the cursor").toBe(before);
}

const keys = fc.integer({ min: 0, max: 2000 });
const values = fc.integer({ min: -9, max: 9 });
const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("set" as const), key: keys, value: values }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("clear" as const), key: keys, count: fc.nat(300) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), key: keys }) },
  ),
  { minLength: 100, maxLength: 1500, size: "max" },
);

describe("OrderedMap", () => {
  test("empty, it has nothing to find", () => {
    const map = new OrderedMap();
    expect(map.seek(7)).toBe(false);
    expect(map.next()).toBe(false);
    expect(map.previous()).toBe(false);
    expect(map.firstAtLeast(-1e9)).toBe(false);
    expect(map.largestValue).toBe(Number.NEGATIVE_INFINITY);
    map.removeNext();
    expect(entries(map)).toEqual([]);
  });

  test("holds what a sorted array holds, and finds what looking at all of it finds", () => {
    fc.assert(
      fc.property(steps, (given) => {
        const [map, model] = [new OrderedMap(), new Model()];
        for (const step of given) {
          if (step.kind === "set") {
            set(map, step.key, step.value);
            model.set(step.key, step.value);
            expect([map.key, map.value]).toEqual([step.key, step.value]);
          } else {
            const count = step.kind === "clear" ? step.count : 1;
            for (let key = step.key; key < step.key + count; key++) {
              remove(map, key);
              model.delete(key);
            }
          }
          expect(map.largestValue).toBe(Math.max(...model.entries.map(([, value]) => value)));
        }
        expect(entries(map)).toEqual(model.entries);
      }),
      { numRuns: 40 },
    );
  });

  test("finds by key and by value as a sorted array does", () => {
    const given = fc.uniqueArray(fc.tuple(keys, values), { selector: ([key]) => key, maxLength: 800, size: "max" });
    fc.assert(
      fc.property(given, fc.array(fc.tuple(keys, values), { minLength: 50 }), (all, questions) => {
        const [map, model] = [filled(all), new Model()];
        model.entries = all.map(([key, value]): [number, number] => [key, value]).sort(([a], [b]) => a - b);
        for (const [key, value] of questions) {
          const found = map.seek(key);
          expect(found ? [map.key, map.value] : undefined).toEqual(model.floor(key));
          const more = map.nextAtLeast(value);
          expect(more ? [map.key, map.value] : undefined).toEqual(model.atLeast(value, model.floor(key)?.[0]));
          const first = map.firstAtLeast(value);
          expect(first ? [map.key, map.value] : undefined).toEqual(model.atLeast(value));
        }
      }),
      { numRuns: 40 },
    );
  });

  test.each(["ascending", "descending"])("takes 5,000 entries in %s order and walks them both ways", (order) => {
    const ascending = Array.from({ length: 5000 }, (_, i): Entry => [i * 2, -1]);
    const map = filled(order === "ascending" ? ascending : ascending.toReversed());
    expect(entries(map)).toEqual(ascending);
    const back: Entry[] = [];
    map.seek(Number.POSITIVE_INFINITY);
    do back.push([map.key, map.value]);
    while (map.previous());
    expect(back.reverse()).toEqual(ascending);
  });

  test("a failed next stays at the last entry, a failed previous is before the first", () => {
    const map = filled([
      [1, 10],
      [2, 20],
    ]);
    map.seek(2);
    expect([map.next(), map.key]).toEqual([false, 2]);
    expect([map.nextAtLeast(5), map.key]).toEqual([false, 2]);
    map.seek(1);
    expect(map.previous()).toBe(false);
    expect([map.next(), map.key]).toEqual([true, 1]);
  });

  test("emptied, it can be filled again", () => {
    const all = Array.from({ length: 3000 }, (_, i): Entry => [i, i % 7]);
    const map = filled(all);
    for (let round = 0; round < 3; round++) {
      map.seek(Number.NEGATIVE_INFINITY);
      for (let i = 0; i < all.length; i++) map.removeNext();
      expect(entries(map)).toEqual([]);
      for (const [key, value] of all) set(map, key, value);
      expect(entries(map)).toEqual(all);
    }
  });
});
