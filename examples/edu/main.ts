/**
 * Copies memory with every `edu` device named on the command line, each behind its own IOMMU, all at the same IOVA.
 *
 *     node build/examples/edu/main.js [--strategy mirrored] [--msi] [--bind] [--trace] 0000:02:00.0 0000:22:00.0
 */
import { parseArgs } from "node:util";
import { bindToVfio, type DriverBinding, IoAddressSpace, IospanError, linux, strategyNames, traced } from "iospan";
import { roundTrip } from "./round-trip.js";

const strategies = ["auto", ...strategyNames] as const;

function commandLine() {
  return parseArgs({
    allowPositionals: true,
    options: {
      strategy: { type: "string", default: "auto" },
      msi: { type: "boolean", default: false },
      bind: { type: "boolean", default: false },
      trace: { type: "boolean", default: false },
    },
  });
}

async function main(): Promise<void> {
  const { values, positionals: names } = commandLine();
  if (names.length === 0) throw new Error("name one or more edu devices: 0000:02:00.0 0000:22:00.0");
  const { syscalls } = linux();
  const machine = { syscalls: values.trace ? traced(syscalls, (line) => console.error(line)) : syscalls };
  const bindings: DriverBinding[] = [];
  try {
    if (values.bind) for (const name of names) bindings.push(bindToVfio(machine, name));
    const strategy = strategies.find((name) => name === values.strategy);
    if (strategy === undefined) throw new Error(`no strategy "${values.strategy}"; there are ${strategies.join(", ")}`);
    await using space = await IoAddressSpace.open(machine, names, { strategy });
    for (const name of space.interfaces) console.log(`${name} is behind ${space.interface(name).iommu}`);
    console.log(`strategy: ${space.strategy} (${space.plan.find(({ chosen }) => chosen)?.reason})`);
    console.log(await roundTrip(space, values.msi ? "msi" : "poll"));
  } finally {
    for (const binding of bindings.reverse()) restore(binding);
  }
}

/** Never throws: the other devices are to be given back too, and why the program failed is to be told as well. */
function restore(binding: DriverBinding): void {
  try {
    binding.restore();
  } catch (error) {
    fail(error);
  }
}

function fail(error: unknown): void {
  console.error(error instanceof Error ? `error: ${error.message}` : error);
  if (error instanceof IospanError && error.hint !== undefined) console.error(`fix: ${error.hint}`);
  process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  fail(error);
}
