import { IospanError } from "../errors.js";
import { containers, type MemoryDescription } from "./linux/description.js";
import type { SimulatedBugs, SimulateOptions } from "./simulate-options.js";

/** What the processor's page tables know. */
const PAGE_SIZES: readonly number[] = [4096, 16384, 65536];
const MiB = 2 ** 20;
const GiB = 2 ** 30;
/** The most that an option can be; `dmaEntryLimit` is an unsigned int of the kernel's. */
const LARGEST = {
  hugepages2M: Number.MAX_SAFE_INTEGER,
  hugepages1G: Number.MAX_SAFE_INTEGER,
  maxFds: Number.MAX_SAFE_INTEGER,
  dmaEntryLimit: 2 ** 32 - 1,
} as const;

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a number that the kernel could not be given */
export function checkNumbers(options: SimulateOptions): void {
  const { pageSize = 4096, memlock = 0 } = options;
  if (!PAGE_SIZES.includes(pageSize)) throw unfit("pageSize", pageSize, `take one of ${PAGE_SIZES.join(", ")}`);
  if (memlock !== Number.POSITIVE_INFINITY && !isCount(memlock, Number.MAX_SAFE_INTEGER)) {
    throw unfit("memlock", memlock, "take a whole number of bytes, or Infinity for no limit");
  }
  for (const name of Object.keys(LARGEST) as (keyof typeof LARGEST)[]) {
    const value = options[name] ?? 0;
    if (!isCount(value, LARGEST[name])) throw unfit(name, value, `take a whole number, 0 to ${LARGEST[name]}`);
  }
}

/**
 * @param memory the machine's RAM
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for more huge pages than there is RAM
 */
export function checkHugePages(options: SimulateOptions, memory: readonly MemoryDescription[]): void {
  const { hugepages2M = 0, hugepages1G = 0 } = options;
  const reserved = hugepages2M * 2 * MiB + hugepages1G * GiB;
  const ram = memory.reduce((sum, { size }) => sum + size, 0);
  if (reserved <= ram) return;
  const problem = `hugepages2M and hugepages1G reserve ${reserved / MiB} MiB, and the machine has ${ram / MiB} MiB`;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", problem, {
    hint: "reserve fewer, or give the device tree more memory",
  });
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a container that does not exist */
export function checkContainer({ container = "type1" }: SimulateOptions): void {
  if (containers.includes(container)) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `container is ${JSON.stringify(container)}`, {
    hint: `take one of ${containers.join(", ")}`,
  });
}

const OPTIONS: Readonly<Record<keyof SimulateOptions, true>> = {
  release: true,
  bugs: true,
  drivers: true,
  devices: true,
  pageSize: true,
  memlock: true,
  capabilities: true,
  hugepages2M: true,
  hugepages1G: true,
  maxFds: true,
  dmaEntryLimit: true,
  allowUnsafeInterrupts: true,
  unsafeNoiommu: true,
  resetRequired: true,
  iommufd: true,
  iommufdUnsafeInterrupts: true,
  container: true,
  vfioCdev: true,
};
const BUGS: Readonly<Record<keyof SimulatedBugs, true>> = {
  mapSkips: true,
  unmapKeepsTlb: true,
  attachesNowhere: true,
};

/**
 * A test that misspells a bug would pass for ever, since tests are run without a type checker.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for an option that does not exist
 */
export function checkNames(options: SimulateOptions): void {
  refuseUnknown("options", options, OPTIONS);
  refuseUnknown("bugs", options.bugs ?? {}, BUGS);
}

function refuseUnknown(what: string, given: object, known: object): void {
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(known, name)) continue;
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${what}: there is no ${JSON.stringify(name)}`, {
      hint: `there are ${Object.keys(known).join(", ")}`,
    });
  }
}

function isCount(value: number, largest: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= largest;
}

function unfit(name: string, value: number, hint: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${name} is ${value}`, { hint });
}
