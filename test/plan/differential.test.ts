import { readdirSync, readFileSync } from "node:fs";
import {
  DmaMemory,
  IoAddressSpace,
  IospanError,
  type SimulatedMachine,
  type SimulateOptions,
  type StrategyName,
  simulate,
} from "iospan";
import { describe, expect, it } from "vitest";
import type { Plan } from "../../src/plan/plan.js";
import { planSpace } from "../../src/plan/planner.js";
import { candidates } from "../../src/space/strategies/auto.js";
import { surveyMachine } from "../../src/survey/survey-machine.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { surveyed } from "./support/surveyed.js";

// Whatever the planner says of a machine, opening a space on it is asked the same.

const CHIPS = new URL("../../chips/", import.meta.url);
const chips = readdirSync(CHIPS)
  // That one is dual-smmu but for the speed of its memory.
  .filter((file) => file.endsWith(".dts") && file !== "dual-smmu-slow-memory.dts")
  .map((file) => file.slice(0, -".dts".length));

const RELEASES = [
  "5.10",
  "6.1",
  "6.2.0",
  "6.6.0",
  "6.10.5",
  "6.11.0",
  "6.12",
  "6.13.0",
  "6.14",
  "6.15.2",
  "6.15.3",
  "7.3",
];
/** One of each kind. */
const KEY_RELEASES = ["6.1", "6.15.2", "7.3"];
const SETTINGS: readonly (readonly [string, SimulateOptions])[] = [
  ["type1", {}],
  ["an iommufd for containers", { container: "iommufd" }],
  ["a link to /dev/iommu for containers", { container: "iommufd-link" }],
  ["no iommufd", { iommufd: false }],
  ["no character devices", { vfioCdev: false }],
  ["no interrupts asked for by type1", { allowUnsafeInterrupts: true }],
  ["no interrupts asked for by iommufd", { iommufdUnsafeInterrupts: true }],
  ["no interrupts asked for", { allowUnsafeInterrupts: true, iommufdUnsafeInterrupts: true }],
  ["a limit that counts", { capabilities: [], memlock: 64 * 2 ** 20 }],
];

function machineOf(chip: string, options: SimulateOptions): SimulatedMachine | undefined {
  try {
    const source = readFileSync(new URL(`${chip}.dts`, CHIPS), "utf8");
    return simulate(source, { drivers: "vfio", resetRequired: false, hugepages2M: 2, ...options });
  } catch (error) {
    // An iommufd for containers takes 6.2.
    if (error instanceof IospanError && error.message.includes("iommufd")) return undefined;
    throw error;
  }
}

/** All pairs, and all of them. */
function casts(names: readonly string[]): readonly (readonly string[])[] {
  const pairs = names.flatMap((a, at) => names.slice(at + 1).map((b) => [a, b]));
  return [...names.map((name) => [name]), ...pairs, ...(names.length > 2 ? [names] : [])];
}

/** The SMMU of the chip unequal-granules whose pages are larger than the processor's. */
const LARGE_PAGES = "smmu3.0x000000000c020000";

interface Outcome {
  readonly opened: StrategyName | undefined;
  readonly error: unknown;
}

async function tryOpen(
  machine: SimulatedMachine,
  names: readonly string[],
  strategy: StrategyName | "auto",
  look: (space: IoAddressSpace) => Promise<void> = async () => {},
): Promise<Outcome> {
  try {
    await using space = await IoAddressSpace.open(machine, names, { strategy });
    await look(space);
    return { opened: space.strategy, error: undefined };
  } catch (error) {
    if (!(error instanceof IospanError)) throw error;
    return { opened: undefined, error };
  }
}

/** How many times a page that is mapped is pinned. */
async function timesPinned(machine: SimulatedMachine, space: IoAddressSpace): Promise<number> {
  // Pages larger than the processor's take memory that is contiguous.
  const isLarge = space.granule > machine.syscalls.pageSize;
  const size = isLarge ? 2 ** 21 : space.granule;
  const held = () => {
    const status = machine.syscalls.readFile("/proc/self/status");
    const kib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(status)?.[1]);
    return (kib("VmLck") + kib("VmPin")) * 1024;
  };
  using memory = DmaMemory.allocate(machine, size, { hugePages: isLarge ? "2MiB" : "no" });
  const before = held();
  await using _mapping = await space.map(memory);
  return (held() - before) / size;
}

/** That what was told of the space is so. */
async function compare(plan: Plan, machine: SimulatedMachine, space: IoAddressSpace): Promise<void> {
  const strategy = plan.strategies.find((each) => each.strategy === space.strategy);
  expect(await timesPinned(machine, space)).toBe(strategy?.timesPinned);
  if (plan.iovaRanges.unknown.length > 0) return;
  expect(plan.iovaRanges.known.ranges).toEqual(space.iovaRanges.ranges);
  if (space.strategy !== plan.recommended && plan.recommended !== undefined) return;
  expect(plan.pageSizes.granule).toBe(space.granule);
  expect(plan.pageSizes.known.bitmap).toBe(space.pageSizes.bitmap);
  if (space.strategy === "mirrored") expect(plan.iovaRanges.known.removed).toEqual(space.iovaRanges.removed);
}

/**
 * Where SMMUs' page tables that are made on their own have no aperture. The simulated kernel gives them one in every release, so
 * that there is nothing to compare the planner with.
 */
const lateAperture = ["6.6.0", "6.10.5"];

async function checkCast(machine: SimulatedMachine, names: readonly string[], release?: string): Promise<number> {
  const plan = planSpace(await surveyed(machine), names);
  const about = (strategy: string) => `${names.join(", ")} with ${strategy}: ${JSON.stringify(plan.strategies)}`;
  let certain = 0;
  for (const { strategy, verdict, reason } of plan.strategies) {
    if (strategy === "single-domain" && release !== undefined && lateAperture.includes(release)) continue;
    const { opened, error } = await tryOpen(machine, names, strategy, (space) => compare(plan, machine, space));
    if (verdict === "unknown") {
      expect(reason, about(strategy)).toMatch(/tells?\b/);
      continue;
    }
    // What cannot be asked is not known, and said: which pages there are behind an iommufd that stands in for a container.
    if (verdict === "yes" && opened === undefined && reason.includes("provided that")) {
      expect(plan.pageSizes.unknown, about(strategy)).toContain(LARGE_PAGES);
      continue;
    }
    certain += 1;
    expect(opened, `${about(strategy)}; ${error}`).toBe(verdict === "yes" ? strategy : undefined);
  }
  const auto = await tryOpen(machine, names, "auto");
  const isKnown = plan.pageSizes.unknown.length === 0 && plan.strategies.every(({ verdict }) => verdict !== "unknown");
  if (isKnown) expect(plan.recommended, about("auto")).toBe(auto.opened);
  if (plan.verdict === "no") expect(auto.opened).toBeUndefined();
  expect(machine.openFds).toEqual([]);
  return certain;
}

describe.each(chips)("chips/%s.dts", (chip) => {
  describe.each(SETTINGS)("with %s", (setting, options) => {
    it.each(setting === "type1" ? RELEASES : KEY_RELEASES)("is planned as it opens, on Linux %s", async (release) => {
      const machine = machineOf(chip, { release, ...options });
      if (machine === undefined) {
        expect([options.container, release]).toEqual([expect.stringContaining("iommufd"), "6.1"]);
        return;
      }
      let certain = 0;
      for (const names of casts(machine.interfaces.map(({ name }) => name))) {
        certain += await checkCast(machine, names, release);
      }
      expect(certain).toBeGreaterThan(0);
    });
  });
});

describe("devices that VFIO has not yet", () => {
  it.each(chips)("open once the steps are done: chips/%s.dts", async (chip) => {
    const source = readFileSync(new URL(`${chip}.dts`, CHIPS), "utf8");
    const machine = simulate(source, { hugepages2M: 2, resetRequired: false });
    const firmware = [topologyOfDeviceTree(source, chip)];
    const survey = surveyMachine(machine.syscalls, { devices: "all", firmware });
    const names = machine.interfaces.map(({ name }) => name);
    const plan = planSpace(survey, names);
    expect(plan.verdict).toBe("yes");
    const bound = plan.steps
      .filter(({ id }) => id === "bind" || id === "bind-companion")
      .map(({ device }) => device ?? "");
    expect(bound.slice().sort()).toEqual(names.slice().sort());
    expect(await tryOpen(machine, names, "mirrored")).toMatchObject({ opened: undefined });
    // The very commands, as far as they write to files.
    const commands = plan.steps.filter(({ id }) => id === "bind").flatMap((step) => step.commands);
    for (const command of commands) {
      const [, text = "", file = ""] = /^echo (\S+) > (\S+)$/.exec(command) ?? [];
      machine.syscalls.writeFile(file, text);
    }
    for (const { strategy, verdict, reason } of plan.strategies) {
      const { opened } = await tryOpen(machine, names, strategy);
      if (verdict === "no") expect(opened, reason).toBeUndefined();
      if (verdict === "yes" && !reason.includes("provided that")) expect(opened, reason).toBe(strategy);
    }
    const after = planSpace(await surveyed(machine), names);
    expect([after.verdict, after.steps]).toEqual(["yes", []]);
  });
});

it("has the order in which auto tries", async () => {
  const machine = simulate(readFileSync(new URL("dual-smmu.dts", CHIPS)), { drivers: "vfio", resetRequired: false });
  const plan = planSpace(await surveyed(machine), [machine.interfaces[0]?.name ?? ""]);
  const order = plan.strategies.map(({ strategy }) => strategy);
  expect(order).toEqual([...candidates(machine, "auto").map(({ name }) => name), "single-domain"]);
});
