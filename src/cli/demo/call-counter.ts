import { type Call, intercepted } from "../../syscalls/intercepted.js";
import type { Syscalls } from "../../syscalls/syscalls.js";

const SYSFS_CALLS: ReadonlySet<string> = new Set(["read-file", "write-file", "read-directory", "readlinkat"]);
/** Type1's calls and iommufd's. */
const MAPPING = /^(VFIO_IOMMU_(UN)?MAP_DMA|IOMMU_IOAS_(UN)?MAP(_FILE)?)$/;

/** Counts the system calls that pass through it. */
export class CallCounter {
  #systemCalls = 0;
  #mapCalls = 0;
  #sysfs = 0;

  /** `inner`, counted. */
  over(inner: Syscalls): Syscalls {
    return intercepted(inner, (call, proceed) => {
      this.#count(call);
      return proceed();
    });
  }

  /** Calls, sysfs aside. */
  get systemCalls(): number {
    return this.#systemCalls;
  }

  /** Of those, the ones that make and unmake mappings. */
  get mapCalls(): number {
    return this.#mapCalls;
  }

  /** Reads and writes of sysfs and procfs. */
  get sysfs(): number {
    return this.#sysfs;
  }

  #count({ name, ioctl }: Call): void {
    if (SYSFS_CALLS.has(name)) {
      this.#sysfs += 1;
      return;
    }
    this.#systemCalls += 1;
    if (ioctl !== undefined && MAPPING.test(ioctl.name)) this.#mapCalls += 1;
  }
}
