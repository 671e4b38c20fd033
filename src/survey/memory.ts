import type { OptionalFiles } from "../machine/optional-files.js";
import type { KernelFacts } from "./survey.js";

const HUGE_PAGES = "/sys/kernel/mm/hugepages";

/** Bytes of memory that the kernel manages (fs/proc/meminfo.c). */
export function readMemory(files: OptionalFiles): number | undefined {
  const kibibytes = /^MemTotal:\s*(\d+) kB$/m.exec(files.text("/proc/meminfo") ?? "")?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

/** The huge pages that are reserved, of each size there is. */
export function readHugePages(files: OptionalFiles): KernelFacts["hugePages"] {
  const pools = (files.names(HUGE_PAGES) ?? []).flatMap((name) => {
    const size = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    const [total, free] = ["nr_hugepages", "free_hugepages"].map((each) =>
      count(files, `${HUGE_PAGES}/${name}/${each}`),
    );
    if (size === undefined || total === undefined || free === undefined) return [];
    return [[Number(size) * 1024, { free, total }] as const];
  });
  return new Map(pools.sort(([a], [b]) => a - b));
}

function count(files: OptionalFiles, path: string): number | undefined {
  const text = files.text(path) ?? "";
  return /^\d+$/.test(text) ? Number(text) : undefined;
}
