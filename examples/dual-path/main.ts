/**
 * Copies memory with a DMA engine that has two interfaces, each behind an IOMMU of its own: through the one, through the other,
 * and through both at once.
 *
 *     node build/examples/dual-path/main.js --simulate
 *     node build/examples/dual-path/main.js [--strategy mirrored] [--trace] 0000:01:00.0 9030000.dma-port
 *
 * The first name is the engine's PCIe function, the second its platform port. They are bound to VFIO's drivers, and given back.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  bindToVfio,
  DualPathEngine,
  IoAddressSpace,
  IospanError,
  linux,
  type Machine,
  simulate,
  strategyNames,
  traced,
} from "iospan";
import { throughput } from "./throughput.js";

const MiB = 2 ** 20;

const strategies = ["auto", ...strategyNames] as const;

function commandLine() {
  return parseArgs({
    allowPositionals: true,
    options: {
      simulate: { type: "boolean", default: false },
      chip: { type: "string", default: "chips/dual-smmu.dts" },
      strategy: { type: "string", default: "auto" },
      trace: { type: "boolean", default: false },
    },
  });
}

async function main(): Promise<void> {
  const { values, positionals } = commandLine();
  const machine: Machine = values.simulate ? simulate(readFileSync(values.chip)) : linux();
  const { syscalls } = machine;
  const seen = { syscalls: values.trace ? traced(syscalls, (line) => console.error(line)) : syscalls };
  const names = positionals.length > 0 || !values.simulate ? positionals : ["0000:01:00.0", "9030000.dma-port"];
  const [onPci, port] = names;
  if (onPci === undefined || port === undefined) throw new Error("name the engine's PCIe function and its port");
  using _function = bindToVfio(seen, onPci);
  using _port = bindToVfio(seen, port);
  const strategy = strategies.find((name) => name === values.strategy);
  if (strategy === undefined) throw new Error(`no strategy "${values.strategy}"; there are ${strategies.join(", ")}`);
  await using space = await IoAddressSpace.open(seen, names, { strategy });
  for (const name of space.interfaces) console.log(`${name} is behind ${space.interface(name).iommu}`);
  console.log(`strategy: ${space.strategy} (${space.plan.find(({ chosen }) => chosen)?.reason})`);
  await using engine = await DualPathEngine.open(space, { function: onPci, port });
  using buffer = space.allocate(4 * MiB);
  for (const { via, bytesPerSecond } of await throughput(engine, buffer)) {
    console.log(`via ${via.padEnd(8)} ${(bytesPerSecond / 1e9).toFixed(2).padStart(6)} GB/s`);
  }
}

function fail(error: unknown): void {
  console.error(error instanceof Error ? `error: ${error.message}` : error);
  if (error instanceof IospanError) console.error(`fix: ${error.hint}`);
  process.exitCode = 1;
}

await main().catch(fail);
