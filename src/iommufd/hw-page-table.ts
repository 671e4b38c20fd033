import {
  hwptAlloc,
  hwptGetDirtyBitmap,
  hwptSetDirtyTracking,
  IOMMU_HWPT,
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_DIRTY_TRACKING,
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_HWPT_GET_DIRTY_BITMAP_FLAG,
  IOMMU_HWPT_SET_DIRTY_TRACKING,
} from "../abi/iommufd-hwpt.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import { type Iova, iova as toIova } from "../iova.js";
import { checkOptions } from "../options.js";
import type { DeviceIdentity } from "../vfio/device.js";
import type { About } from "../vfio/refusal.js";
import { withAnswerMemory } from "./answer-memory.js";
import type { BoundDevice } from "./bound-device.js";
import { DirtyPages } from "./dirty-pages.js";
import {
  dirtyRefused,
  noPageSize,
  noWholePages,
  tableDestroyRefused,
  tableRefused,
  unmappedRange,
} from "./hw-page-table-refusals.js";
import type { Ioas } from "./ioas.js";
import { type Iommufd, unlessBusy } from "./iommufd.js";

/** What a page table shall be able to do. Nothing special where absent. */
export interface PageTableOptions {
  /** Page tables of guests can be nested in it: on an SMMUv3 it is a stage 2 then. Goes with nothing else. */
  readonly nestParent?: boolean | undefined;
  /** The IOMMU records which pages devices write to: {@link HwPageTable.dirtyPages}. */
  readonly dirtyTracking?: boolean | undefined;
  /** A device's PASIDs can be attached to it. */
  readonly pasid?: boolean | undefined;
}

/** What to ask of the record of written pages. */
export interface DirtyQuestion {
  /** The first address; a multiple of `pageSize`. */
  readonly iova: Iova;
  /** Bytes; a multiple of `pageSize`. All of them must be mapped. */
  readonly size: number;
  /** Bytes that one bit stands for, a power of two: the smallest page of the IOMMUs where absent. */
  readonly pageSize?: number | undefined;
  /** Whether the record begins anew, which it does where absent. False spares the IOMMUs' TLBs. */
  readonly clear?: boolean | undefined;
}

/**
 * A hardware page table, HWPT: the kernel's iommu_domain, of one IOMMU, with the mappings of an I/O address space
 * (drivers/iommu/iommufd/hw_pagetable.c). Devices behind other IOMMUs cannot use it.
 */
export class HwPageTable implements Disposable {
  /** The kernel's number for it. */
  readonly id: number;
  readonly ioas: Ioas;
  /** The device it was made for; its IOMMU is the table's. */
  readonly device: DeviceIdentity;
  readonly #iommufd: Iommufd;
  #ended = false;

  private constructor(iommufd: Iommufd, id: number, device: DeviceIdentity, ioas: Ioas) {
    this.#iommufd = iommufd;
    this.id = id;
    this.device = device;
    this.ioas = ioas;
  }

  /**
   * Makes one for a device's IOMMU and enters the mappings there are. Nobody is attached to it yet.
   * @throws IospanError `ERR_IOSPAN_ATTACH_REFUSED`, `ERR_IOSPAN_NOT_SUPPORTED` where the IOMMU cannot do what the options ask
   * for, `ERR_IOSPAN_NO_IOMMUFD` where the kernel cannot.
   */
  static async allocate(
    iommufd: Iommufd,
    device: BoundDevice,
    ioas: Ioas,
    options: PageTableOptions = {},
  ): Promise<HwPageTable> {
    checkOptions("HwPageTable.allocate()", options, { nestParent: true, dirtyTracking: true, pasid: true });
    const bytes = hwptAlloc.encode({ dev_id: device.id, pt_id: ioas.id, flags: flagsOf(options) });
    const { name, iommu, bus } = device;
    await iommufd.ioctlAsync(IOMMU_HWPT_ALLOC, bytes, (error) => tableRefused(error, { device: name, iommu }, options));
    return new HwPageTable(iommufd, hwptAlloc.decode(bytes).out_hwpt_id, { name, iommu, bus }, ioas);
  }

  /**
   * Starts the record of written pages, with none in it, or ends it. It costs devices that write a little: the IOMMU then
   * writes, too, to mark the page table (arm-smmu-v3 does so from the allocation on, whatever is set here).
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` where the table was not made for it.
   */
  setDirtyTracking(on: boolean): void {
    const flags = on ? IOMMU_HWPT_DIRTY_TRACKING.ENABLE : 0;
    const bytes = hwptSetDirtyTracking.encode({ hwpt_id: this.id, flags });
    const doing = on ? "starting to record written pages" : "ending the record of written pages";
    this.#iommufd.ioctl(IOMMU_HWPT_SET_DIRTY_TRACKING, bytes, (error) => dirtyRefused(error, doing, this.#about));
  }

  /**
   * Which pages devices wrote to since the record began: since {@link setDirtyTracking}, or since the last time that this was
   * asked with `clear`. Unmapping loses what was recorded; ask before. After a `clear` on an SMMUv3 more is lost: Linux 7.3 does
   * not have its TLB forget that a page may be written to, so that further writes to a page are recorded only after the SMMU
   * has looked at the page table again (arm-smmu-v3.c, arm_smmu_iotlb_sync passes over ranges without a page size). Where every
   * write counts, ask with `clear: false`.
   * @throws IospanError `ERR_IOSPAN_MAP_RANGE` where the range has a hole, at which the kernel would stop without a word;
   * `ERR_IOSPAN_MAP_ALIGNMENT`, `ERR_IOSPAN_INVALID_ARGUMENT`, `ERR_IOSPAN_NOT_SUPPORTED`.
   */
  dirtyPages(question: DirtyQuestion): DirtyPages {
    const { size, clear = true } = question;
    const iova = toIova(question.iova);
    const pageSize = question.pageSize ?? this.ioas.rules().alignment;
    requireWholePages({ iova, size }, pageSize, this.#about);
    if (!this.ioas.isWhole(iova, BigInt(size))) throw unmappedRange(iova, size, this.#about);
    const bitmapSize = Math.ceil(size / pageSize / 8);
    const flags = clear ? 0 : IOMMU_HWPT_GET_DIRTY_BITMAP_FLAG.NO_CLEAR;
    // The kernel only sets bits, of memory that is 0 (iova_bitmap_set).
    return withAnswerMemory(this.#iommufd, bitmapSize, this.#about, (memory) => {
      const { address: data } = memory;
      const fields = { hwpt_id: this.id, flags, iova, length: size, page_size: pageSize, data };
      this.#iommufd.ioctl(IOMMU_HWPT_GET_DIRTY_BITMAP, hwptGetDirtyBitmap.encode(fields), (error) =>
        dirtyRefused(error, "reading the record of written pages", this.#about),
      );
      return new DirtyPages({ iova, size }, pageSize, new Uint8Array(memory.buffer).slice(0, bitmapSize));
    });
  }

  /**
   * Ends it. It also goes with the iommufd.
   * @throws IospanError `ERR_IOSPAN_BUSY` while a device is attached; nothing has changed then.
   */
  destroy(): void {
    this.#iommufd.ioctl(IOMMU_DESTROY, destroy.encode({ id: this.id }), (error) =>
      tableDestroyRefused(error, this.#about),
    );
    this.#ended = true;
  }

  /** Ends it. Where a device is still attached to it, that is left to the end of the iommufd. */
  [Symbol.dispose](): void {
    if (this.#ended || this.#iommufd.closed) return;
    unlessBusy(() => this.destroy());
  }

  get #about(): About {
    return { device: this.device.name, iommu: this.device.iommu };
  }
}

function flagsOf({ nestParent = false, dirtyTracking = false, pasid = false }: PageTableOptions): number {
  const { ALLOC_NEST_PARENT, ALLOC_DIRTY_TRACKING, ALLOC_PASID } = IOMMU_HWPT;
  return (nestParent ? ALLOC_NEST_PARENT : 0) | (dirtyTracking ? ALLOC_DIRTY_TRACKING : 0) | (pasid ? ALLOC_PASID : 0);
}

/** @throws IospanError before the kernel is asked, which does not look at everything (iommufd_check_iova_range). */
function requireWholePages({ iova, size }: DirtyQuestion, pageSize: number, about: About): void {
  if (!isPowerOfTwo(pageSize)) throw noPageSize(pageSize, about);
  const isWhole = Number.isSafeInteger(size) && size > 0 && size % pageSize === 0 && iova % BigInt(pageSize) === 0n;
  if (!isWhole) throw noWholePages(iova, size, pageSize, about);
}

function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && Number.isInteger(Math.log2(value));
}
