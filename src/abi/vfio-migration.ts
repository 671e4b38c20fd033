import { struct } from "./codec.js";
import { argsz, fd, u64 } from "./fields.js";
import { flags, names, oneOf } from "./flags.js";
import { type Ioctl, ioctl } from "./ioctl.js";

/** What a device that migrates can (include/uapi/linux/vfio.h). */
export const VFIO_MIGRATION = names("VFIO_MIGRATION_*", { STOP_COPY: 1 << 0, P2P: 1 << 1, PRE_COPY: 1 << 2 });

/** `struct vfio_device_feature_migration` (include/uapi/linux/vfio.h), for the feature MIGRATION. */
export const migration = struct("vfio_device_feature_migration", { flags: flags(VFIO_MIGRATION, u64) });

/** The states of a device that migrates (include/uapi/linux/vfio.h). */
export const VFIO_DEVICE_STATE = names("VFIO_DEVICE_STATE_*", {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
});

/** `struct vfio_device_feature_mig_state` (include/uapi/linux/vfio.h), for the feature MIG_DEVICE_STATE. */
export const migrationState = struct("vfio_device_feature_mig_state", {
  device_state: oneOf(VFIO_DEVICE_STATE),
  data_fd: fd,
});

/** `struct vfio_device_feature_mig_data_size` (include/uapi/linux/vfio.h), for the feature MIG_DATA_SIZE. */
export const migrationDataSize = struct("vfio_device_feature_mig_data_size", { stop_copy_length: u64 });

/** Flags of {@link precopyInfo} (include/uapi/linux/vfio.h). */
export const VFIO_PRECOPY_INFO = names("VFIO_PRECOPY_INFO_*", { REINIT: 1 << 0 });

/** `struct vfio_precopy_info` (include/uapi/linux/vfio.h). */
export const precopyInfo = struct("vfio_precopy_info", {
  argsz,
  flags: flags(VFIO_PRECOPY_INFO),
  initial_bytes: u64,
  dirty_bytes: u64,
});

/** Asks a migration's data descriptor how much is left to copy (include/uapi/linux/vfio.h). */
export const VFIO_MIG_GET_PRECOPY_INFO: Ioctl = ioctl("VFIO_MIG_GET_PRECOPY_INFO", 0x79, precopyInfo);
