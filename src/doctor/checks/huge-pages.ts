import { bytesText } from "../bytes-text.js";
import type { Check } from "../check.js";
import { noKernel, passed, untold, warned } from "../diagnoses.js";

/** Mapping 2 MiB in one piece costs a fraction of 512 pages. Nobody has to. */
export const hugePages: Check = {
  id: "IOSPAN-HUGE-PAGES",
  title: "huge pages, which are optional",
  run: ({ survey: { kernel } }) => {
    if (kernel === undefined) return [noKernel];
    const pools = [...kernel.hugePages].sort(([a], [b]) => a - b);
    if (pools.length === 0)
      return [
        untold("/sys/kernel/mm/hugepages is not there", { fix: ["a kernel built with CONFIG_HUGETLBFS has it"] }),
      ];
    const free = pools.filter(([, pool]) => pool.free > 0);
    if (free.length > 0)
      return [passed(`free: ${free.map(([size, pool]) => `${pool.free} of ${bytesText(size)}`).join(", ")}`)];
    const taken = pools.filter(([, pool]) => pool.total > 0);
    if (taken.length === 0) return [passed("none reserved; transparent ones serve where the kernel has them")];
    return [
      warned("every reserved huge page is in use: mapping with small ones takes longer", {
        evidence: taken.map(
          ([size, { total }]) => `/sys/kernel/mm/hugepages/hugepages-${size / 1024}kB: 0 of ${total} are free`,
        ),
        fix: taken.map(
          ([size, { total }]) => `echo ${2 * total} > /sys/kernel/mm/hugepages/hugepages-${size / 1024}kB/nr_hugepages`,
        ),
      }),
    ];
  },
};
