/**
 * What the lab runs in the guest by default: shows the machine, then proves on its kernel that the library does what it
 * says: the example over both paths and the conformance scenarios, in half a minute; with `--every` all of them with every
 * strategy, in one or two; with `--full` also every failure of a system call, thousands of random operations, and what a user
 * sees when something is wrong, in ten. One line per proof, or with `--brief` one per strategy; exit code 1 if any failed, or
 * if none was made. With `--compat-container` VFIO's container is iommufd's, as where a kernel has no other.
 */
import assert from "node:assert/strict";
import { existsSync, rmSync, symlinkSync } from "node:fs";
import { inspect, parseArgs } from "node:util";
import { bindToVfio, findDevice, IoAddressSpace, linux, type Machine, type StrategyName, strategyNames } from "iospan";
import { roundTrip } from "../../examples/edu/round-trip.js";
import { refused } from "../../test/conformance/expect.js";
import { mechanismOf } from "../../test/conformance/mechanism.js";
import { platform } from "../../test/conformance/platform.js";
import type { Rig, Scenario } from "../../test/conformance/rig.js";
import { scenarios } from "../../test/conformance/scenarios.js";
import { Proofs } from "./proofs.js";
import { isLeftToFull } from "./quick-run.js";
import { type Cast, castOf, platformRigOf, rigOf } from "./rigs.js";
import { formatStrategyLine } from "./strategy-line.js";
import { userErrors } from "./user-errors.js";
import { virtualFunction } from "./virtual-functions.js";

const STRATEGIES: readonly StrategyName[] = strategyNames;
/** The iommufd strategies take it, and Debian's kernels have none. */
const IOMMUFD = "/dev/iommu";
const CONTAINER = "/dev/vfio/vfio";

const { values } = parseArgs({
  options: {
    full: { type: "boolean", default: false },
    every: { type: "boolean", default: false },
    brief: { type: "boolean", default: false },
    "compat-container": { type: "boolean", default: false },
    strategy: { type: "string", multiple: true, default: [...STRATEGIES] },
    only: { type: "string" },
  },
});

function chosenStrategies(): readonly StrategyName[] {
  const unknown = values.strategy.find((wanted) => !STRATEGIES.some((name) => name === wanted));
  const wanted = STRATEGIES.filter((name) => values.strategy.includes(name));
  if (unknown === undefined) return values["compat-container"] ? wanted.filter(isOfContainers) : wanted;
  console.error(`error: there is no strategy "${unknown}"; there are ${STRATEGIES.join(", ")}`);
  process.exit(1);
}

/** From then on whoever opens a container gets an iommufd (drivers/iommu/iommufd/vfio_compat.c). In the lab only: it stays so. */
function takeIommufdForContainers(): void {
  if (!existsSync(IOMMUFD)) {
    console.error(`error: --compat-container takes a kernel with iommufd (${IOMMUFD}): npm run lab -- --kernel custom`);
    process.exit(1);
  }
  rmSync(CONTAINER);
  symlinkSync(IOMMUFD, CONTAINER);
}

const isOfContainers = (strategy: StrategyName): boolean => mechanismOf(strategy) === "containers";

function describe(machine: Machine, { first, second, port }: Cast): void {
  console.log(`Linux ${machine.syscalls.readFile("/proc/sys/kernel/osrelease").trim()}`);
  const parts = [
    [first, "edu"],
    [second, "edu"],
    [port, "on the SoC's own bus"],
  ] as const;
  for (const [name, what] of parts) {
    if (name === undefined) continue;
    const { iommu, group, driver } = findDevice(machine, name);
    console.log(`${name}  ${what}, behind ${iommu?.name} (group ${group}, ${driver})`);
  }
}

async function proveExample({ machine, strategy, first, second }: Rig): Promise<void> {
  // How a transfer's end is noticed has nothing to do with the strategy.
  for (const completion of strategy === "mirrored" ? (["poll", "msi"] as const) : (["poll"] as const)) {
    await proofs.prove(`the example, ${completion === "msi" ? "with MSIs" : "polling"}`, async () => {
      await using space = await IoAddressSpace.open(machine, [first, second], { strategy });
      return await roundTrip(space, completion);
    });
  }
}

/** The article's pair: a PCIe interface and one on the SoC's own bus, behind two SMMUs, in one address space. */
function proveArticlesPair({ machine, strategy, first }: Rig, port: string): Promise<void> {
  return proofs.prove("a PCIe and a platform device in one address space", async () => {
    await using space = await IoAddressSpace.open(machine, [first, port], { strategy });
    using buffer = space.allocate(2 ** 21, { hugePages: "try" });
    assert.equal(space.audit().consistent, true);
    assert.notEqual(space.interface(first).iommu, space.interface(port).iommu);
    const moved = await roundTrip(space, "poll", [first]);
    const iommus = space.interfaces.map((name) => `${name} (${space.interface(name).iommu})`).join(" and ");
    return `${iommus} have 2 MiB at IOVA 0x${buffer.iova.toString(16)}; ${moved}`;
  });
}

/** The README's program, with the strategy named in it, or as it stands. */
function proveReadme(strategy: StrategyName | "auto"): Promise<void> {
  return proofs.prove(strategy === "auto" ? "the README's program" : "the README's program, with it", async () => {
    const lines = await linesOf(() => import(new URL(`./readme/${strategy}.js`, import.meta.url).href));
    assert.deepEqual(lines.at(-1), [true], "the audit");
    const [chosen, plan] = lines[0] ?? [];
    return strategy === "auto" ? `chose ${chosen}: ${inspect(plan, { breakLength: Infinity })}` : undefined;
  });
}

/** What a program says, instead of having it printed. */
async function linesOf(run: () => Promise<unknown>): Promise<readonly unknown[][]> {
  const lines: unknown[][] = [];
  const { log } = console;
  console.log = (...words) => void lines.push(words);
  try {
    await run();
    return lines;
  } finally {
    console.log = log;
  }
}

async function proveScenarios<R extends Rig>(subject: string, list: readonly Scenario<R>[], rig: R): Promise<void> {
  for (const { name, run, skip } of list) {
    const title = `${subject}: ${name}`;
    if (values.only !== undefined && !title.includes(values.only)) continue;
    if (isQuick && isLeftToFull(subject, title, rig.strategy === strategies[0])) {
      left += 1;
      continue;
    }
    const reason = skip?.(rig);
    if (reason !== undefined) proofs.skip(title, reason);
    else await proofs.prove(title, () => run(rig));
  }
}

/** The strategies of iommufd where the kernel has none: refused, with a hint, and nothing is left open. */
function proveAbsence({ machine, strategy, first, second, openFiles }: Rig): Promise<void> {
  return proofs.prove("is refused, since this kernel has no iommufd", async () => {
    const before = openFiles().join();
    const open = () => IoAddressSpace.open(machine, [first, second], { strategy });
    const { message, hint } = await refused("ERR_IOSPAN_NO_IOMMUFD", open);
    if (openFiles().join() !== before) throw new Error(`left open: ${openFiles().join(", ")}`);
    return `${message}; ${hint}`;
  });
}

/** One page table for devices behind two SMMUs: the kernel's EINVAL, explained. */
function proveRefusal({ machine, strategy, first }: Rig, second: string): Promise<void> {
  return proofs.prove("is refused for devices behind two SMMUs", async () => {
    const open = () => IoAddressSpace.open(machine, [first, second], { strategy });
    const { message, hint, syscall } = await refused("ERR_IOSPAN_ATTACH_REFUSED", open);
    return `${syscall}: ${message}; ${hint}`;
  });
}

async function proveStrategy(strategy: StrategyName): Promise<"works" | "refused"> {
  const depth = values.full ? "full" : "quick";
  const rig = { ...rigOf(machine, cast, strategy, depth), compatContainer: values["compat-container"] };
  if (mechanismOf(strategy) === "iommufd" && !existsSync(IOMMUFD)) {
    await proveAbsence(rig);
    return "refused";
  }
  if (strategy === "single-domain") await proveRefusal(rig, cast.second);
  if (values.only === undefined) await proveExample(rig);
  if (values.only === undefined && !rig.oneIommu && hasReadmesDevices) await proveReadme(strategy);
  for (const [subject, list] of Object.entries(scenarios)) await proveScenarios(subject, list, rig);
  if (!isQuick && values.only === undefined && !rig.oneIommu) {
    const prove = () => virtualFunction(machine, cast.physicalFunction, strategy);
    await proofs.prove("a virtual function opens with the token of its physical function", prove);
  }
  if (cast.port !== undefined && !rig.oneIommu) {
    if (values.only === undefined) await proveArticlesPair(rig, cast.port);
    await proveScenarios("platform", platform, platformRigOf(rig, cast.port));
  }
  return "works";
}

/** Runs all proofs of a strategy, and tells in one line how it did. */
async function proveAndTell(strategy: StrategyName): Promise<void> {
  console.log(`\nstrategy ${strategy}`);
  const before = proofs.tally;
  const start = performance.now();
  const verdict = await proveStrategy(strategy);
  const passed = proofs.tally.passed - before.passed;
  const failed = proofs.tally.failed - before.failed;
  const skipped = proofs.tally.skipped - before.skipped;
  const seconds = (performance.now() - start) / 1000;
  console.log(
    formatStrategyLine({ strategy, verdict: failed > 0 ? "fails" : verdict, passed, failed, skipped, seconds }),
  );
}

// First of all, since it is what refuses to run outside the lab.
const cast = castOf(process.env["IOSPAN_LAB_MACHINE"]);
const strategies = chosenStrategies();
if (values["compat-container"]) takeIommufdForContainers();
const isQuick = !values.full && !values.every && values.only === undefined;
/** Scenarios that a quick run did not go through. */
let left = 0;
/** The README names the devices of the first machine. */
const hasReadmesDevices = cast.second === "0000:22:00.0";
const machine = linux();
const proofs = new Proofs(values);
// What a rejected promise that nobody awaited says would otherwise be lost in the guest's output.
process.on("unhandledRejection", (error) => {
  console.error(`unhandled rejection: ${inspect(error)}`);
  process.exit(1);
});
{
  const { first, second, beside, neighbour, port } = cast;
  using _first = bindToVfio(machine, first);
  using _second = bindToVfio(machine, second);
  using _beside = bindToVfio(machine, beside);
  using _neighbour = bindToVfio(machine, neighbour);
  using _port = port === undefined ? undefined : bindToVfio(machine, port);
  describe(machine, cast);
  for (const strategy of strategies) await proveAndTell(strategy);
  if (values.only === undefined && hasReadmesDevices) await proveReadme("auto");
}
if (values.full && values.only === undefined) await userErrors(machine, cast.first, cast.second, proofs);
if (left > 0) console.log(`\n${left} more: npm run lab -- --timeout 1800 -- node build/lab/guest/prove.js --full`);
proofs.summarize();
