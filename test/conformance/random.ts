import assert from "node:assert/strict";
import { type DmaMemory, IoAddressSpace, type Mapping } from "iospan";
import { consistent } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

/** Granules of memory, and of addresses for mappings that are told where to be. */
const PAGES = 256;
const PLACES = 1024;
const MOST_PAGES = 64;
const LOWEST_PLACE = 0x4000_0000n;
const MOST_LIVE = 200;

/** Mulberry32: small, and the same numbers everywhere for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** `IOSPAN_SEED=…` repeats a run that failed. */
function chosenSeed(): number {
  const { IOSPAN_SEED: wanted } = process.env;
  if (wanted === undefined || wanted === "") return Math.floor(Math.random() * 2 ** 32);
  const seed = Number(wanted);
  assert.ok(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32, `IOSPAN_SEED=${wanted} is no 32-bit number`);
  return seed;
}

async function churn(rig: Rig, operations: number, batch: number): Promise<void> {
  const seed = chosenSeed();
  try {
    await churnFrom(random(seed), rig, operations, batch);
  } catch (error) {
    throw new Error(`to repeat it: IOSPAN_SEED=${seed}`, { cause: error });
  }
}

async function churnFrom(draw: (below: number) => number, rig: Rig, operations: number, batch: number): Promise<void> {
  await using space = await IoAddressSpace.open(rig.machine, [rig.first, rig.second], { strategy: rig.strategy });
  using memory = granules(rig, PAGES, { hugePages: "no" });
  const page = granuleOf(rig);
  const places = placesIn(space, page);
  const live: Mapping[] = [];
  for (let done = 0; done < operations; done += 1) {
    if (live.length === MOST_LIVE || (live.length > 0 && draw(5) < 2)) await remove(live, draw);
    else await add({ space, memory, page, places }, live, draw);
    if ((done + 1) % batch === 0) check(space, live, `after ${done + 1} operations`);
  }
  while (live.length > 0) await remove(live, draw);
  check(space, live, "at the end");
}

/** The first address from 1 GiB on with so many places that all IOMMUs allow. */
function placesIn({ iovaRanges }: IoAddressSpace, page: number): bigint {
  for (const { start, end } of iovaRanges.ranges) {
    const from = start > LOWEST_PLACE ? start : LOWEST_PLACE;
    if (from + BigInt((PLACES + MOST_PAGES) * page) <= end) return from;
  }
  assert.fail("no room for mappings that are told where to be");
}

interface Field {
  readonly space: IoAddressSpace;
  readonly memory: DmaMemory;
  readonly page: number;
  readonly places: bigint;
}

async function add({ space, memory, page, places }: Field, live: Mapping[], draw: (below: number) => number) {
  const pages = 1 + draw(draw(8) === 0 ? MOST_PAGES : 4);
  const options = { offset: draw(PAGES - pages) * page, size: pages * page };
  const fixed = places + BigInt(draw(PLACES) * page);
  const taken = live.some(
    (other) => other.iova < fixed + BigInt(options.size) && other.iova + BigInt(other.size) > fixed,
  );
  live.push(await space.map(memory, draw(3) === 0 && !taken ? { ...options, iova: fixed } : options));
}

async function remove(live: Mapping[], draw: (below: number) => number): Promise<void> {
  const [mapping] = live.splice(draw(live.length), 1);
  await mapping?.unmap();
}

function check(space: IoAddressSpace, live: readonly Mapping[], when: string): void {
  try {
    consistent(space, live.length);
    const sorted = [...live].sort((a, b) => (a.iova < b.iova ? -1 : 1));
    assert.deepEqual(
      space.mappings.map(({ iova, size }) => [iova, size]),
      sorted.map(({ iova, size }) => [iova, size]),
    );
    for (const [index, mapping] of sorted.slice(1).entries()) {
      const before = sorted[index];
      assert.ok(before !== undefined && before.iova + BigInt(before.size) <= mapping.iova, "no two overlap");
    }
  } catch (error) {
    throw new Error(when, { cause: error });
  }
}

export const randomly: readonly Scenario[] = [
  scenario("stays consistent through thousands of random maps and unmaps", (rig) =>
    rig.depth === "full" ? churn(rig, 10_000, 500) : churn(rig, 200, 50),
  ),
];
