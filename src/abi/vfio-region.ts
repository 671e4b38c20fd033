import { type Capability, capabilityHeader, expectCapability } from "./capability.js";
import { type Decoded, decodeArray, struct } from "./codec.js";
import { argsz, u32, u64 } from "./fields.js";
import { flags, names } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** The regions of a PCI device (include/uapi/linux/vfio.h). Indexes from NUM_REGIONS on are device specific. */
export const VFIO_PCI_REGION_INDEX = names("VFIO_PCI_*_REGION_INDEX", {
  BAR0: 0,
  BAR1: 1,
  BAR2: 2,
  BAR3: 3,
  BAR4: 4,
  BAR5: 5,
  ROM: 6,
  CONFIG: 7,
  VGA: 8,
});

/** How many regions vfio-pci numbers itself (include/uapi/linux/vfio.h). */
export const VFIO_PCI_NUM_REGIONS = 9;

/** Flags of {@link regionInfo} (include/uapi/linux/vfio.h). */
export const VFIO_REGION_INFO_FLAG = names("VFIO_REGION_INFO_FLAG_*", {
  READ: 1 << 0,
  WRITE: 1 << 1,
  MMAP: 1 << 2,
  CAPS: 1 << 3,
});

/** `struct vfio_region_info` (include/uapi/linux/vfio.h). `offset` is the region's place in the device's descriptor. */
export const regionInfo = struct("vfio_region_info", {
  argsz,
  flags: flags(VFIO_REGION_INFO_FLAG),
  index: u32,
  cap_offset: u32,
  size: u64,
  offset: u64,
});

/** The capabilities behind {@link regionInfo} (include/uapi/linux/vfio.h). MSIX_MAPPABLE is a header alone. */
export const VFIO_REGION_INFO_CAP = names("VFIO_REGION_INFO_CAP_*", {
  SPARSE_MMAP: 1,
  TYPE: 2,
  MSIX_MAPPABLE: 3,
  NVLINK2_SSATGT: 4,
  NVLINK2_LNKSPD: 5,
});

/** `struct vfio_region_sparse_mmap_area` (include/uapi/linux/vfio.h); `offset` counts from the region's start. */
export const sparseMmapArea = struct("vfio_region_sparse_mmap_area", { offset: u64, size: u64 });

/** `struct vfio_region_info_cap_sparse_mmap` (include/uapi/linux/vfio.h); `nr_areas` {@link sparseMmapArea}s follow. */
export const sparseMmapCapability = struct(
  "vfio_region_info_cap_sparse_mmap",
  {
    header: capabilityHeader,
    nr_areas: u32,
    reserved: u32,
  },
  { name: "areas", element: sparseMmapArea, follows: ({ nr_areas }) => ({ element: sparseMmapArea, count: nr_areas }) },
);

/** Kinds of device specific regions (include/uapi/linux/vfio.h). With PCI_VENDOR_TYPE the low 16 bits are a vendor id. */
export const VFIO_REGION_TYPE = names("VFIO_REGION_TYPE_*", {
  GFX: 1,
  CCW: 2,
  MIGRATION_DEPRECATED: 3,
  PCI_VENDOR_TYPE: 0x8000_0000,
  PCI_VENDOR_MASK: 0xffff,
});

/** `struct vfio_region_info_cap_type` (include/uapi/linux/vfio.h). */
export const regionTypeCapability = struct("vfio_region_info_cap_type", {
  header: capabilityHeader,
  type: u32,
  subtype: u32,
});

/** Asks a device about the region of an `index` (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_GET_REGION_INFO: Ioctl = ioctl("VFIO_DEVICE_GET_REGION_INFO", 0x6c, regionInfo, {
  capabilities: {
    ids: VFIO_REGION_INFO_CAP,
    layouts: {
      [VFIO_REGION_INFO_CAP.SPARSE_MMAP]: sparseMmapCapability,
      [VFIO_REGION_INFO_CAP.TYPE]: regionTypeCapability,
    },
  },
});

/**
 * The parts of a region that mmap allows, from SPARSE_MMAP.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` for more areas than the answer holds.
 */
export function sparseAreas(capability: Capability): readonly Decoded<typeof sparseMmapArea>[] {
  expectCapability(capability, VFIO_REGION_INFO_CAP.SPARSE_MMAP, 1);
  const { nr_areas } = sparseMmapCapability.decode(capability.bytes);
  return decodeArray(sparseMmapArea, capability.bytes, sparseMmapCapability.size, nr_areas);
}

/** Which device specific region this is, from TYPE. */
export function regionType(capability: Capability): Decoded<typeof regionTypeCapability> {
  expectCapability(capability, VFIO_REGION_INFO_CAP.TYPE, 1);
  return regionTypeCapability.decode(capability.bytes);
}
