import assert from "node:assert/strict";
import { IoAddressSpace, type Machine } from "iospan";
import { consistent } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { isMirrored, mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const KIB = 1024;
const MIB = KIB * KIB;
const SIZE = 64 * MIB;

/** KiB of memory that the kernel holds for the process, by who counts them (fs/proc/task_mmu.c). */
interface Held {
  /** `VmLck`: what counts against RLIMIT_MEMLOCK; a type1 container counts every page that it pins, whoever the process is. */
  readonly locked: number;
  /** `VmPin`: what an iommufd pins. That counts against the limit of the user, and with CAP_IPC_LOCK against none. */
  readonly pinned: number;
}

function held({ syscalls }: Machine): Held {
  const status = syscalls.readFile("/proc/self/status");
  const kib = (name: string) => {
    const [, number] = new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(status) ?? [];
    assert.ok(number !== undefined, `/proc/self/status has no ${name}`);
    return Number(number);
  };
  return { locked: kib("VmLck"), pinned: kib("VmPin") };
}

const since = (before: Held, now: Held): Held => ({
  locked: now.locked - before.locked,
  pinned: now.pinned - before.pinned,
});

/** What a buffer should add. */
function expected(rig: Rig): Held {
  const kib = (SIZE / KIB) * (isMirrored(rig) ? 2 : 1);
  const byIommufd = mechanismOf(rig.strategy) === "iommufd" || rig.compatContainer === true;
  return byIommufd ? { locked: 0, pinned: kib } : { locked: kib, pinned: 0 };
}

const NOTHING: Held = { locked: 0, pinned: 0 };

export const accounting: readonly Scenario[] = [
  scenario("a page is pinned and counted once, or once for every container, until it is unmapped", async (rig) => {
    const { machine, first, second, strategy } = rig;
    await using space = await IoAddressSpace.open(machine, [first, second], { strategy });
    using memory = granules(rig, SIZE / granuleOf(rig), { hugePages: "no" });
    const before = held(machine);
    await using mapping = await space.map(memory);
    const added = since(before, held(machine));
    assert.deepEqual(added, expected(rig));
    consistent(space, 1);
    await mapping.unmap();
    assert.deepEqual(since(before, held(machine)), NOTHING, "after the unmap");
    const times = (added.locked + added.pinned) / (SIZE / KIB);
    return `64 MiB pinned ${times}x: VmLck +${added.locked} kB, VmPin +${added.pinned} kB`;
  }),

  scenario("a device that joins and leaves takes its share of the count with it, and no more", async (rig) => {
    const { machine, first, second, strategy } = rig;
    await using space = await IoAddressSpace.open(machine, [first], { strategy });
    using memory = granules(rig, 16);
    const before = held(machine);
    await using mapping = await space.map(memory, { iova: 0x40_0000 });
    const once = since(before, held(machine));
    assert.equal(once.locked + once.pinned, memory.size / KIB);
    await space.attach(second);
    const both = since(before, held(machine));
    const containers = isMirrored(rig) ? 2 : 1;
    assert.deepEqual(both, { locked: once.locked * containers, pinned: once.pinned * containers });
    await space.detach(first);
    assert.deepEqual(since(before, held(machine)), once);
    await mapping.unmap();
    assert.deepEqual(since(before, held(machine)), NOTHING);
  }),
];
