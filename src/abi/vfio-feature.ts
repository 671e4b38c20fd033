import { type Following, type Struct, struct } from "./codec.js";
import { argsz, bytes, type FieldType, fd, u8, u32, u64 } from "./fields.js";
import { flagNames, names, oneOf, valueName } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";
import { migration, migrationDataSize, migrationState } from "./vfio-migration.js";

/** What to do with a feature: the upper bits of {@link deviceFeature}'s flags (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_FEATURE_OPERATION = names("VFIO_DEVICE_FEATURE_*", {
  GET: 1 << 16,
  SET: 1 << 17,
  PROBE: 1 << 18,
});

/** Which feature: the low 16 bits of {@link deviceFeature}'s flags (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_FEATURE_INDEX = names("VFIO_DEVICE_FEATURE_*", {
  PCI_VF_TOKEN: 0,
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  LOW_POWER_ENTRY: 3,
  LOW_POWER_ENTRY_WITH_WAKEUP: 4,
  LOW_POWER_EXIT: 5,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
  BUS_MASTER: 10,
  DMA_BUF: 11,
  MIG_PRECOPY_INFOv2: 12,
  ZPCI_ERROR: 13,
});

/** The bits of {@link deviceFeature}'s flags that hold a {@link VFIO_DEVICE_FEATURE_INDEX} (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_FEATURE_MASK = 0xffff;

const featureFlags: FieldType<number> = {
  ...u32,
  print(value) {
    const index = value & VFIO_DEVICE_FEATURE_MASK;
    const operation = flagNames(VFIO_DEVICE_FEATURE_OPERATION, value - index);
    return `${operation}|${valueName(VFIO_DEVICE_FEATURE_INDEX, index)}`;
  },
};

/** `struct vfio_device_feature` (include/uapi/linux/vfio.h). The feature's own struct follows. */
export const deviceFeature = struct(
  "vfio_device_feature",
  { argsz, flags: featureFlags },
  { name: "data", element: u8, follows: ({ flags }) => featureData(flags) },
);

function featureData(flags: number): Following | undefined {
  const element =
    (flags & VFIO_DEVICE_FEATURE_OPERATION.PROBE) === 0 ? layouts[flags & VFIO_DEVICE_FEATURE_MASK] : undefined;
  return element === undefined ? undefined : { element };
}

/** What follows for PCI_VF_TOKEN: the UUID's bare 16 bytes, which the header gives no struct. */
export const vfToken = struct("iospan_vf_token", { uuid: bytes(16) });

/** `struct vfio_device_low_power_entry_with_wakeup` (include/uapi/linux/vfio.h), for LOW_POWER_ENTRY_WITH_WAKEUP. */
export const lowPowerEntryWithWakeup = struct("vfio_device_low_power_entry_with_wakeup", {
  wakeup_eventfd: fd,
  reserved: u32,
});

/** `struct vfio_device_feature_dma_logging_control` (include/uapi/linux/vfio.h), for DMA_LOGGING_START; `ranges` is a pointer. */
export const dmaLoggingControl = struct("vfio_device_feature_dma_logging_control", {
  page_size: u64,
  num_ranges: u32,
  __reserved: u32,
  ranges: u64,
});

/** `struct vfio_device_feature_dma_logging_range` (include/uapi/linux/vfio.h): what {@link dmaLoggingControl} points to. */
export const dmaLoggingRange = struct("vfio_device_feature_dma_logging_range", { iova: u64, length: u64 });

/** `struct vfio_device_feature_dma_logging_report` (include/uapi/linux/vfio.h), for DMA_LOGGING_REPORT; `bitmap` is a pointer. */
export const dmaLoggingReport = struct("vfio_device_feature_dma_logging_report", {
  iova: u64,
  length: u64,
  page_size: u64,
  bitmap: u64,
});

/** What {@link busMaster} does (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_FEATURE_BUS_MASTER_OP = names("VFIO_DEVICE_FEATURE_*", { CLEAR_MASTER: 0, SET_MASTER: 1 });

/** `struct vfio_device_feature_bus_master` (include/uapi/linux/vfio.h), for BUS_MASTER. */
export const busMaster = struct("vfio_device_feature_bus_master", { op: oneOf(VFIO_DEVICE_FEATURE_BUS_MASTER_OP) });

/** `struct vfio_region_dma_range` (include/uapi/linux/vfio.h). */
export const regionDmaRange = struct("vfio_region_dma_range", { offset: u64, length: u64 });

/** `struct vfio_device_feature_dma_buf` (include/uapi/linux/vfio.h), for DMA_BUF; `nr_ranges` {@link regionDmaRange}s follow. */
export const dmaBuf = struct(
  "vfio_device_feature_dma_buf",
  {
    region_index: u32,
    open_flags: u32,
    flags: u32,
    nr_ranges: u32,
  },
  {
    name: "dma_ranges",
    element: regionDmaRange,
    follows: ({ nr_ranges }) => ({ element: regionDmaRange, count: nr_ranges }),
  },
);

/** `struct vfio_device_feature_zpci_err` (include/uapi/linux/vfio.h), for ZPCI_ERROR. */
export const zpciError = struct("vfio_device_feature_zpci_err", { data: u64 });

const layouts: Readonly<Record<number, Struct>> = {
  [VFIO_DEVICE_FEATURE_INDEX.PCI_VF_TOKEN]: vfToken,
  [VFIO_DEVICE_FEATURE_INDEX.MIGRATION]: migration,
  [VFIO_DEVICE_FEATURE_INDEX.MIG_DEVICE_STATE]: migrationState,
  [VFIO_DEVICE_FEATURE_INDEX.LOW_POWER_ENTRY_WITH_WAKEUP]: lowPowerEntryWithWakeup,
  [VFIO_DEVICE_FEATURE_INDEX.DMA_LOGGING_START]: dmaLoggingControl,
  [VFIO_DEVICE_FEATURE_INDEX.DMA_LOGGING_REPORT]: dmaLoggingReport,
  [VFIO_DEVICE_FEATURE_INDEX.MIG_DATA_SIZE]: migrationDataSize,
  [VFIO_DEVICE_FEATURE_INDEX.BUS_MASTER]: busMaster,
  [VFIO_DEVICE_FEATURE_INDEX.DMA_BUF]: dmaBuf,
  [VFIO_DEVICE_FEATURE_INDEX.ZPCI_ERROR]: zpciError,
};

/** Reads, sets or probes for an optional feature of a device (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_FEATURE: Ioctl = ioctl("VFIO_DEVICE_FEATURE", 0x75, deviceFeature);
