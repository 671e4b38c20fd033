/**
 * What the lab runs in the guest by default: shows the machine, then proves on its kernel that the library does what it
 * says: the example over both paths and the conformance scenarios, in half a minute; with `--every` all of them with every
 * strategy, in one; with `--full` also every failure of a system call, thousands of random operations, and what a user sees
 * when something is wrong, in ten. One line per proof; exit code 1 if any failed, or if none was made.
 */
import { inspect, parseArgs } from "node:util";
import { bindToVfio, findDevice, IoAddressSpace, linux, type Machine, type StrategyName, strategyNames } from "iospan";
import { roundTrip } from "../../examples/edu/round-trip.js";
import type { Rig } from "../../test/conformance/rig.js";
import { scenarios } from "../../test/conformance/scenarios.js";
import { openVfioFiles } from "./open-files.js";
import { Proofs } from "./proofs.js";
import { isLeftToFull } from "./quick-run.js";
import { userErrors } from "./user-errors.js";

// Machine 1: an edu and one side of a dual-port NVMe drive behind the first SMMU, another of each behind the second.
const FIRST = "0000:02:00.0";
const SECOND = "0000:22:00.0";
const NEIGHBOUR = "0000:01:00.0";
const STRANGER = "0000:21:00.0";

const { values } = parseArgs({
  options: {
    full: { type: "boolean", default: false },
    every: { type: "boolean", default: false },
    strategy: { type: "string", multiple: true, default: [...strategyNames] },
    only: { type: "string" },
  },
});

function chosenStrategies(): readonly StrategyName[] {
  const unknown = values.strategy.find((wanted) => !strategyNames.some((name) => name === wanted));
  if (unknown === undefined) return strategyNames.filter((name) => values.strategy.includes(name));
  console.error(`error: there is no strategy "${unknown}"; there are ${strategyNames.join(", ")}`);
  process.exit(1);
}

function describe(machine: Machine): void {
  console.log(`Linux ${machine.syscalls.readFile("/proc/sys/kernel/osrelease").trim()}`);
  for (const name of [FIRST, SECOND]) {
    const { iommu, group, driver } = findDevice(machine, name);
    console.log(`${name}  edu, behind ${iommu?.name} (group ${group}, ${driver})`);
  }
}

async function proveExample(machine: Machine, strategy: StrategyName, proofs: Proofs): Promise<void> {
  // How a transfer's end is noticed has nothing to do with the strategy.
  for (const completion of strategy === "mirrored" ? (["poll", "msi"] as const) : (["poll"] as const)) {
    await proofs.prove(`the example, ${completion === "msi" ? "with MSIs" : "polling"}`, async () => {
      await using space = await IoAddressSpace.open(machine, [FIRST, SECOND], { strategy });
      return await roundTrip(space, completion);
    });
  }
}

async function proveScenarios(rig: Rig, proofs: Proofs): Promise<void> {
  for (const [subject, list] of Object.entries(scenarios)) {
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
}

const strategies = chosenStrategies();
const isQuick = !values.full && !values.every && values.only === undefined;
/** Scenarios that a quick run did not go through. */
let left = 0;
const machine = linux();
const proofs = new Proofs();
// What a rejected promise that nobody awaited says would otherwise be lost in the guest's output.
process.on("unhandledRejection", (error) => {
  console.error(`unhandled rejection: ${inspect(error)}`);
  process.exit(1);
});
{
  using _first = bindToVfio(machine, FIRST);
  using _second = bindToVfio(machine, SECOND);
  using _neighbour = bindToVfio(machine, NEIGHBOUR);
  describe(machine);
  const depth = values.full ? "full" : "quick";
  for (const strategy of strategies) {
    console.log(`\nstrategy ${strategy}`);
    const rig = {
      machine,
      strategy,
      first: FIRST,
      second: SECOND,
      neighbour: NEIGHBOUR,
      stranger: STRANGER,
      depth,
      emulated: true,
      openFiles: () => openVfioFiles(machine),
    } as const;
    if (values.only === undefined) await proveExample(machine, strategy, proofs);
    await proveScenarios(rig, proofs);
  }
}
if (values.full && values.only === undefined) await userErrors(machine, FIRST, SECOND, proofs);
if (left > 0) console.log(`\n${left} more: npm run lab -- --timeout 1800 -- node build/lab/guest/prove.js --full`);
proofs.summarize();
