import { cachedKernel, KERNELS, type Kernel, type KernelSource } from "./kernels.js";
import { MACHINES } from "./machines.js";
import type { Workshop } from "./workshop.js";

/** What `--list` prints: the kernels, which of them are in the cache, and the machines. */
export async function listing(shop: Workshop): Promise<string> {
  const states = KERNELS.map(async (source) => ({ source, kernel: await cachedKernel(shop, source) }));
  return formatListing(await Promise.all(states));
}

/** In 80 columns. */
export function formatListing(
  states: readonly { readonly source: KernelSource; readonly kernel?: Kernel | undefined }[],
): string {
  const kernels = states.flatMap(({ source, kernel }) => [
    `  ${source.name.padEnd(8)} ${source.summary}`,
    `  ${"".padEnd(8)} ${kernel === undefined ? missing(source) : `in the cache: ${facts(kernel)}`}`,
  ]);
  const machines = MACHINES.map(({ name, summary }) => `  ${name.padEnd(15)} ${summary}`);
  return [
    `Kernels (--kernel, default ${KERNELS[0]?.name}):`,
    ...kernels,
    "",
    `Machines (--machine, default ${MACHINES[0]?.name}):`,
    ...machines,
    "",
  ].join("\n");
}

function facts({ release, version }: Kernel): string {
  return `${release} (Debian ${version})`;
}

/** What happens when it is first used. */
function missing({ build, series, release }: KernelSource): string {
  const what = build === "custom" ? `source of ${series} is compiled` : `${series} of Debian ${release} is downloaded`;
  return `not in the cache: the newest ${what}`;
}
