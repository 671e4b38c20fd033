import assert from "node:assert/strict";
import { DmaMemory, type Fault, type FaultySyscalls, faulty, IoAddressSpace, IospanError, type Machine } from "iospan";
import { consistent, refused } from "./expect.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const PAGE = 4096;
/** Errno values that calls are made to fail with (asm-generic/errno-base.h). */
const EIO = 5;
const ENOMEM = 12;

/** How much the program does that is made to fail at every one of its system calls. */
interface Program {
  readonly maps: number;
  readonly unmaps: number;
}

/** What a run got hold of, to look at after it failed. */
interface Run {
  space?: IoAddressSpace;
  memory?: DmaMemory;
}

async function perform(rig: Rig, syscalls: FaultySyscalls, { maps, unmaps }: Program, run: Run): Promise<void> {
  const machine = { syscalls };
  const memory = DmaMemory.allocate(machine, maps * PAGE);
  run.memory = memory;
  const space = await IoAddressSpace.open(machine, [rig.first, rig.second], { strategy: rig.strategy });
  run.space = space;
  for (let index = 0; index < maps; index += 1) await space.map(memory, { offset: index * PAGE, size: PAGE });
  for (const mapping of space.mappings.slice(0, unmaps)) await mapping.unmap();
  await space.attach(rig.neighbour);
  await space.close();
  memory.release();
}

/** The failed call's error is explained, the space consistent, and nothing of it left. */
async function checkAftermath(rig: Rig, run: Run, error: unknown, before: readonly string[]): Promise<void> {
  assert.ok(error instanceof IospanError, `an unexplained ${error}`);
  assert.ok(error.hint !== undefined, `no hint: ${error.message}`);
  if (run.space !== undefined && !run.space.closed) {
    assert.equal(run.space.broken, undefined);
    consistent(run.space);
    await run.space.close();
  }
  run.memory?.release();
  assert.deepEqual(rig.openFiles(), before);
}

/** Fails the nth call of the program. @returns false once it has fewer calls. */
async function failNth(rig: Rig, program: Program, nth: number, before: readonly string[]): Promise<boolean> {
  const syscalls = faulty(rig.machine.syscalls, { nth, errno: ENOMEM });
  const run: Run = {};
  try {
    await perform(rig, syscalls, program, run);
    assert.deepEqual(rig.openFiles(), before);
    return syscalls.failed !== undefined;
  } catch (error) {
    const { failed } = syscalls;
    syscalls.fault = undefined;
    try {
      await checkAftermath(rig, run, error, before);
    } catch (cause) {
      const call = failed?.ioctl?.name ?? `${failed?.name} ${failed?.path ?? ""}`;
      throw new Error(`after call ${nth} (${call}) failed with "${error}"`, { cause });
    }
    return true;
  }
}

/** Fails every `stride`th call, one per run. @returns the runs. */
async function failCalls(rig: Rig, program: Program, stride: number): Promise<number> {
  const before = rig.openFiles();
  let runs = 0;
  while (await failNth(rig, program, 1 + runs * stride, before)) runs += 1;
  return runs;
}

const callNamed =
  (name: string): NonNullable<Fault["match"]> =>
  (call) =>
    call.ioctl?.name === name;

/** The second container refuses a call, and then the first one refuses to undo its own. */
function refusingTwice(
  machine: Machine,
  call: string,
  undoing: string,
): { machine: Machine; arm(): void; disarm(): void } {
  const inner = faulty(machine.syscalls);
  const outer = faulty(inner);
  return {
    machine: { syscalls: outer },
    arm: () => {
      inner.fault = { match: callNamed(call), nth: 2, errno: EIO };
      outer.fault = { match: callNamed(undoing), nth: 1, errno: EIO };
    },
    disarm: () => {
      inner.fault = undefined;
      outer.fault = undefined;
    },
  };
}

async function breaks(rig: Rig, doing: "map" | "unmap"): Promise<void> {
  const before = rig.openFiles();
  const [call, undoing] =
    doing === "map" ? ["VFIO_IOMMU_MAP_DMA", "VFIO_IOMMU_UNMAP_DMA"] : ["VFIO_IOMMU_UNMAP_DMA", "VFIO_IOMMU_MAP_DMA"];
  const { machine, arm, disarm } = refusingTwice(rig.machine, call ?? "", undoing ?? "");
  const space = await IoAddressSpace.open(machine, [rig.first, rig.second], { strategy: rig.strategy });
  const kept = space.allocate(PAGE);
  const memory = DmaMemory.allocate(machine, PAGE);
  const mapping = doing === "unmap" ? await space.map(memory) : undefined;
  arm();
  const error = await refused("ERR_IOSPAN_INCONSISTENT", () => mapping?.unmap() ?? space.map(memory));
  disarm();
  assert.equal(space.broken, error);
  await refused("ERR_IOSPAN_INCONSISTENT", () => space.allocate(PAGE));
  await refused("ERR_IOSPAN_INCONSISTENT", () => space.map(memory));
  await refused("ERR_IOSPAN_INCONSISTENT", () => space.attach(rig.neighbour));
  await refused("ERR_IOSPAN_BUSY", () => memory.release());
  assert.equal(space.audit().consistent, false);
  kept.free();
  await space.close();
  memory.release();
  assert.deepEqual(rig.openFiles(), before);
}

const onlyMirrored: Scenario["skip"] = (rig) =>
  rig.strategy === "mirrored" ? undefined : "with one container a map is one call, and so is an unmap";

export const faults: readonly Scenario[] = [
  scenario(
    "says so when a map cannot be undone, does no more, and still closes",
    (rig) => breaks(rig, "map"),
    onlyMirrored,
  ),
  scenario("says so when an unmap cannot be undone, and still closes", (rig) => breaks(rig, "unmap"), onlyMirrored),

  scenario(
    "survives the failure of every single system call",
    async (rig) => {
      const program = { maps: 50, unmaps: 20 };
      const runs = await failCalls(rig, program, 1);
      assert.ok(runs > program.maps + program.unmaps, `only ${runs} calls were made to fail`);
    },
    (rig) => (rig.depth === "full" ? undefined : "a sample of them comes next; all of them takes minutes"),
  ),

  scenario(
    "survives the failure of a sample of its system calls",
    async (rig) => {
      const runs = await failCalls(rig, { maps: 3, unmaps: 2 }, 11);
      assert.ok(runs > 5, `only ${runs} calls were made to fail`);
    },
    (rig) => (rig.depth === "quick" ? undefined : "all of them were made to fail"),
  ),
];
