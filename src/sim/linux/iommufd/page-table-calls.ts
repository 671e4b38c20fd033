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
} from "../../../abi/iommufd-hwpt.js";
import { Refusal, refuse } from "../refusal.js";
import { DirtyBitmap } from "./dirty-bitmap.js";
import { command, type IommufdCall } from "./ioctl-table.js";
import { LAST_IOVA } from "./iova-rules.js";

const { ALLOC_NEST_PARENT, ALLOC_DIRTY_TRACKING, FAULT_ID_VALID, ALLOC_PASID } = IOMMU_HWPT;
const KNOWN_FLAGS = ALLOC_NEST_PARENT | ALLOC_DIRTY_TRACKING | FAULT_ID_VALID | ALLOC_PASID;

/** The calls on page tables (drivers/iommu/iommufd/hw_pagetable.c). */
export const pageTableCalls: readonly IommufdCall[] = [
  command(IOMMU_HWPT_ALLOC, hwptAlloc, "__reserved", ({ context, request, respond }) => {
    const { flags, data_type, data_len, dev_id, pt_id } = request;
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    if ((data_type === 0) !== (data_len === 0)) refuse("EINVAL");
    const device = context.objects.device(dev_id);
    const parent = context.objects.get(pt_id) ?? refuse("EINVAL");
    if (parent.kind === "device") refuse("EINVAL");
    // arm-smmu-v3 nests in a virtual IOMMU only.
    if (parent.kind === "hwpt") return refuse("EOPNOTSUPP");
    if ((flags & ~KNOWN_FLAGS) !== 0) refuse("EOPNOTSUPP");
    const has = (flag: number) => (flags & flag) !== 0;
    if (has(ALLOC_DIRTY_TRACKING) && !device.member.iommu.tracksWrites) refuse("EOPNOTSUPP");
    if (has(FAULT_ID_VALID) && has(ALLOC_NEST_PARENT)) refuse("EOPNOTSUPP");
    // No page table of arm-smmu-v3 takes data of the program's.
    if (data_type !== 0) refuse("EOPNOTSUPP");
    const kind = {
      nestParent: has(ALLOC_NEST_PARENT),
      dirtyTracking: has(ALLOC_DIRTY_TRACKING),
      pasid: has(ALLOC_PASID),
    };
    const hwpt = device.allocateTable(parent, kind, () => {
      // Queues of faults are not simulated, so that no id is one's.
      if (has(FAULT_ID_VALID)) refuse("ENOENT");
    });
    respond({ out_hwpt_id: hwpt.id });
  }),

  command(IOMMU_HWPT_SET_DIRTY_TRACKING, hwptSetDirtyTracking, "__reserved", ({ context, request }) => {
    const { flags, hwpt_id } = request;
    if ((flags & ~IOMMU_HWPT_DIRTY_TRACKING.ENABLE) !== 0) refuse("EOPNOTSUPP");
    const { domain, ioas } = context.objects.hwpt(hwpt_id);
    const visit = domain.visitDirty ?? refuse("EOPNOTSUPP");
    // arm-smmu-v3 marks pages all the time; what was marked before does not count.
    if (flags === 0) return;
    for (const { value } of ioas.areas) visit({ iova: value.iova, size: value.length, clear: true }, () => {});
  }),

  command(IOMMU_HWPT_GET_DIRTY_BITMAP, hwptGetDirtyBitmap, "data", ({ context, request }) => {
    const { flags, hwpt_id, iova, length, page_size: pageSize, data } = request;
    const { NO_CLEAR } = IOMMU_HWPT_GET_DIRTY_BITMAP_FLAG;
    if ((flags & ~NO_CLEAR) !== 0 || request.__reserved !== 0) refuse("EOPNOTSUPP");
    const { domain, ioas } = context.objects.hwpt(hwpt_id);
    checkRange(iova, length, pageSize, BigInt(ioas.alignment));
    const visit = domain.visitDirty ?? refuse("EOPNOTSUPP");
    const bitmap = new DirtyBitmap({ iova, length, pageSize });
    for (const part of ioas.contiguousFrom(iova, length)) {
      visit({ ...part, clear: flags !== NO_CLEAR }, (start, size) => bitmap.set(start, size));
    }
    try {
      bitmap.addTo(context.kernel.process.memory, Number(data));
    } catch (error) {
      // Where the bits cannot be written nobody is told (iova_bitmap_set).
      if (!(error instanceof Refusal)) throw error;
    }
  }),
];

/** iommufd_check_iova_range. */
function checkRange(iova: bigint, length: bigint, pageSize: bigint, alignment: bigint): void {
  if (length === 0n) refuse("EINVAL");
  const end = iova + length;
  if (end - 1n > LAST_IOVA) refuse("EOVERFLOW");
  const isMisaligned = (unit: bigint) => (iova & (unit - 1n)) !== 0n || (end & (unit - 1n)) !== 0n;
  if (isMisaligned(alignment) || pageSize === 0n || isMisaligned(pageSize)) refuse("EINVAL");
}
