import assert from "node:assert/strict";
import {
  type Call,
  type DmaMemory,
  type Fault,
  type FaultySyscalls,
  faulty,
  IoAddressSpace,
  IospanError,
  type Machine,
} from "iospan";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { isMirrored } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

/** Where mappings begin that are replayed. */
const FIRST_IOVA = 0x40_0000;
/** Errno values that calls are made to fail with (asm-generic/errno-base.h). */
const EIO = 5;
const ENOMEM = 12;

/** What a run got hold of, to look at after it failed. */
interface Run {
  space?: IoAddressSpace;
  memory?: DmaMemory;
  /** What the program is at: making or giving back memory has to do with no device, all else has. */
  doing?: "memory" | "devices" | "both" | "closing";
}

/** Something to be made to fail at every one of its system calls. */
type Program = (rig: Rig, syscalls: FaultySyscalls, run: Run) => Promise<void>;

/** Opens two devices, maps and unmaps, attaches a third behind another IOMMU, to which the mappings are replayed; closes. */
function replaying({ maps, unmaps }: { maps: number; unmaps: number }): Program {
  return async (rig, syscalls, run) => {
    const machine = { syscalls };
    run.doing = "memory";
    const size = granuleOf(rig);
    const memory = granules({ ...rig, machine }, maps);
    run.memory = memory;
    run.doing = "devices";
    const space = await IoAddressSpace.open(machine, [rig.first, rig.neighbour], { strategy: rig.strategy });
    run.space = space;
    for (let index = 0; index < maps; index += 1)
      await space.map(memory, { offset: index * size, size, iova: FIRST_IOVA + index * size });
    for (const mapping of space.mappings.slice(0, unmaps)) await mapping.unmap();
    await space.attach(rig.second);
    // Nobody was told of the failure: then nothing may be missing for it. (Asked after it only: asking is calls, too.)
    if (syscalls.failed !== undefined) consistent(space, maps - unmaps);
    run.doing = "closing";
    await space.close();
    run.doing = "memory";
    memory.release();
  };
}

/** What the other program leaves out: synchronous and concurrent mapping, other memory, interrupts, registers, reset, detach. */
const varied: Program = async (rig, syscalls, run) => {
  const machine = { syscalls };
  run.doing = "memory";
  const size = granuleOf(rig);
  const memory = granules({ ...rig, machine }, 4, { hugePages: "no" });
  run.memory = memory;
  run.doing = "devices";
  const space = await IoAddressSpace.open(machine, [rig.first, rig.second], { strategy: rig.strategy });
  run.space = space;
  const device = space.interface(rig.first);
  run.doing = "both";
  const buffer = space.allocate(size);
  space.allocate(2 * size, { backing: "memfd" });
  run.doing = "devices";
  device.interrupt("msi").close();
  device.interrupt("intx").close();
  // Armed when the device is reset and the space closes.
  device.interrupt("msi");
  device.region("bar0").read32(0);
  await device.reset();
  await allOf([0, 1, 2, 3].map((index) => space.map(memory, { offset: index * size, size })));
  await allOf(space.mappings.filter((mapping) => mapping.memory === memory).map((mapping) => mapping.unmap()));
  const again = await space.map(memory);
  run.doing = "both";
  buffer.free();
  run.doing = "devices";
  await space.detach(rig.second);
  again.unmapNow();
  if (syscalls.failed !== undefined) consistent(space, 1);
  run.doing = "closing";
  await space.close();
  run.doing = "memory";
  memory.release();
};

/** As `Promise.all`, but does not leave before all have come to their end. */
async function allOf(operations: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(operations)).find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/** The space is consistent, and nothing of it is left. */
async function checkAftermath(rig: Rig, run: Run, before: readonly string[]): Promise<void> {
  if (run.space !== undefined && !run.space.closed) {
    assert.equal(run.space.broken, undefined);
    consistent(run.space);
    await run.space.close();
  }
  run.memory?.release();
  assert.deepEqual(rig.openFiles(), before);
}

/** @returns what is missing in the error of a failed call; undefined where it says it all. */
function flaw(error: unknown, failed: Call, { doing }: Run, number: number): string | undefined {
  if (!(error instanceof IospanError)) return `an unexplained ${error}`;
  if (error.hint === undefined || error.hint.length === 0) return "no hint";
  const incomplete = error.code === "ERR_IOSPAN_CLOSE_INCOMPLETE" && error.cause instanceof AggregateError;
  const refusals: unknown[] = incomplete ? (error.cause as AggregateError).errors : [error];
  const known = refusals.some((each) => each instanceof Error && "errno" in each && each.errno === number);
  if (!known) return "no errno";
  // Closing has to do with all of them; memory of the space's own has to do with none until it is mapped.
  const involved =
    (doing === "devices" && !failed.path?.startsWith("/proc/")) || (doing === "both" && failed.name === "ioctl");
  if (involved && error.device === undefined && error.iommu === undefined) return "neither device nor iommu";
  return undefined;
}

interface Sweep {
  readonly rig: Rig;
  readonly program: Program;
  readonly errno: number;
  readonly before: readonly string[];
  /** Errors that do not say all they should: the first of each kind, by call and lack. */
  readonly flaws: Map<string, string>;
}

/** Fails the nth call of the program. @returns false once it has fewer calls. */
async function failNth({ rig, program, errno, before, flaws }: Sweep, nth: number): Promise<boolean> {
  const syscalls = faulty(rig.machine.syscalls, { nth, errno });
  const run: Run = {};
  try {
    await program(rig, syscalls, run);
    assert.deepEqual(rig.openFiles(), before);
    return syscalls.failed !== undefined;
  } catch (error) {
    const { failed } = syscalls;
    if (failed === undefined) throw error;
    syscalls.fault = undefined;
    const call = failed.ioctl?.name ?? `${failed.name} ${failed.path ?? ""}`;
    const missing = flaw(error, failed, run, errno);
    const kind = `${call.replaceAll(/[0-9]/g, "")} ${missing}`;
    if (missing !== undefined && !flaws.has(kind)) flaws.set(kind, `${call}, errno ${errno}: ${missing}: ${error}`);
    try {
      await checkAftermath(rig, run, before);
    } catch (cause) {
      throw new Error(`after call ${nth} (${call}) failed with "${error}"`, { cause });
    }
    return true;
  }
}

/** Fails every `stride`th call, one per run. @returns the runs. */
async function failCalls(rig: Rig, program: Program, errno: number, stride = 1): Promise<number> {
  const sweep = { rig, program, errno, before: rig.openFiles(), flaws: new Map<string, string>() };
  let runs = 0;
  while (await failNth(sweep, 1 + runs * stride)) runs += 1;
  assert.deepEqual([...sweep.flaws.values()], [], "errors that do not say all they should");
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
  const kept = space.allocate(granuleOf(rig));
  const memory = granules({ ...rig, machine }, 1);
  const mapping = doing === "unmap" ? await space.map(memory) : undefined;
  arm();
  const error = await refused("ERR_IOSPAN_INCONSISTENT", () => mapping?.unmap() ?? space.map(memory));
  disarm();
  assert.equal(space.broken, error);
  await refused("ERR_IOSPAN_INCONSISTENT", () => space.allocate(granuleOf(rig)));
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
  isMirrored(rig) ? undefined : "with one container a map is one call, and so is an unmap";

const onlyFull: Scenario["skip"] = (rig) =>
  rig.depth === "full" ? undefined : "a sample of them comes last; all of them takes minutes";

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
      const size = { maps: 50, unmaps: 20 };
      const runs = await failCalls(rig, replaying(size), ENOMEM);
      assert.ok(runs > size.maps + size.unmaps, `only ${runs} calls were made to fail`);
      // Where it takes minutes, a sample: the errno makes a difference to what the error says, not to what is undone.
      await failCalls(rig, replaying(size), EIO, rig.emulated ? 7 : 1);
    },
    onlyFull,
  ),

  scenario(
    "survives the failure of every call for memory, interrupts, registers, resets and detaching",
    async (rig) => {
      for (const errno of [EIO, ENOMEM]) {
        const runs = await failCalls(rig, varied, errno);
        assert.ok(runs > 100, `only ${runs} calls were made to fail`);
      }
    },
    onlyFull,
  ),

  scenario(
    "survives the failure of a sample of its system calls",
    async (rig) => {
      const runs = await failCalls(rig, replaying({ maps: 3, unmaps: 2 }), ENOMEM, 37);
      assert.ok(runs > 2, `only ${runs} calls were made to fail`);
      await failCalls(rig, varied, EIO, 101);
    },
    (rig) => (rig.depth === "quick" ? undefined : "all of them were made to fail"),
  ),
];
