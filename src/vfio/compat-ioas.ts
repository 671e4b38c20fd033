import { errno } from "../abi/errno.js";
import type { Ioctl } from "../abi/ioctl.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP_FLAG,
  IOMMU_VFIO_IOAS,
  IOMMU_VFIO_IOAS_OP,
  ioasAlloc,
  ioasCopy,
  vfioIoas,
} from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import { iova as toIova } from "../iova.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { probeRefused } from "./container-refusals.js";
import { failuresOf, withFailures } from "./failures.js";
import type { IovaSize } from "./mapping-probe.js";
import { type About, unexplained } from "./refusal.js";

/**
 * The address space that VFIO's calls work on in an iommufd, asked by iommufd's own calls, which its descriptor takes, too
 * (drivers/iommu/iommufd/vfio_compat.c, iommufd_vfio_ioas).
 */
export class CompatIoas {
  readonly #syscalls: Syscalls;
  readonly #fd: Fd;
  readonly #about: About;

  constructor(syscalls: Syscalls, fd: Fd, about: About) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.#about = about;
  }

  /**
   * Whether every byte of a range is mapped, in however many mappings: it is copied to an address space without devices, where
   * nothing is pinned, which the kernel refuses for one with holes (io_pagetable.c, iopt_get_pages).
   */
  isWhole(range: IovaSize): boolean {
    const named = vfioIoas.encode({ op: IOMMU_VFIO_IOAS_OP.GET });
    this.#ask(IOMMU_VFIO_IOAS, named);
    const scratch = ioasAlloc.encode();
    this.#ask(IOMMU_IOAS_ALLOC, scratch);
    const { out_ioas_id: id } = ioasAlloc.decode(scratch);
    const end = () => this.#ask(IOMMU_DESTROY, destroy.encode({ id }));
    let isWhole: boolean;
    try {
      isWhole = this.#copies(range, vfioIoas.decode(named).ioas_id, id);
    } catch (error) {
      throw withFailures(error, failuresOf(end));
    }
    end();
    return isWhole;
  }

  #copies({ iova, size }: IovaSize, from: number, to: number): boolean {
    const flags = IOMMU_IOAS_MAP_FLAG.FIXED_IOVA | IOMMU_IOAS_MAP_FLAG.READABLE;
    const ids = { src_ioas_id: from, dst_ioas_id: to };
    const bytes = ioasCopy.encode({ flags, ...ids, src_iova: iova, dst_iova: iova, length: size });
    try {
      this.#syscalls.ioctl(this.#fd, IOMMU_IOAS_COPY, bytes);
      return true;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno === errno.ENOENT) return false;
      throw probeRefused(error, toIova(iova), size, this.#about);
    }
  }

  #ask(call: Ioctl, bytes: Uint8Array): void {
    try {
      this.#syscalls.ioctl(this.#fd, call, bytes);
    } catch (error) {
      throw unexplained(error, "asking an iommufd what is mapped", this.#about);
    }
  }
}
