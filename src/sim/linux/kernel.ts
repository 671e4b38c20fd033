import { errnoName } from "../../abi/errno.js";
import type { Ioctl } from "../../abi/ioctl.js";
import {
  type Fd,
  type IoctlArgument,
  type Mmio,
  type MmapRequest,
  type ResourceLimit,
  SyscallError,
  type Syscalls,
} from "../../syscalls/syscalls.js";
import { Clock } from "../hw/clock.js";
import { PhysicalMemory } from "../hw/physical-memory.js";
import { buildDevices } from "./build.js";
import type { MachineDescription } from "./description.js";
import { Bus } from "./drivers/bus.js";
import type { KernelDevice } from "./drivers/device.js";
import { ordinaryDriver } from "./drivers/driver.js";
import { EventFd } from "./files/eventfd.js";
import { NullFile, TextFile } from "./files/plain-files.js";
import { Smmu } from "./iommu/smmu.js";
import { SmmuEvents } from "./iommu/smmu-events.js";
import { KernelLog } from "./kernel-log.js";
import { HugePagePool } from "./mm/huge-pages.js";
import { MemoryCalls } from "./mm/memory-calls.js";
import { SimulatedMmio } from "./mmio.js";
import { Process } from "./process.js";
import { profileOf } from "./profile.js";
import { Refusal, refuse } from "./refusal.js";
import { type ContainerSnapshot, snapshot } from "./snapshot.js";
import { devicePath } from "./sysfs/paths.js";
import { procfs } from "./sysfs/procfs.js";
import { sysfs } from "./sysfs/sysfs.js";
import { directory, FileTree, type Node } from "./sysfs/tree.js";
import { Vfio } from "./vfio/vfio.js";
