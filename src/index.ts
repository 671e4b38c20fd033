export type { Ioctl, IoctlArgumentKind } from "./abi/ioctl.js";
export { type ErrorCode, errorCodes, IospanError, type IospanErrorFacts } from "./errors.js";
export { hex, type Iova, type IovaRange, iova } from "./iova.js";
export { findDevice, listDevices } from "./machine/devices.js";
export { type BindOptions, bindToVfio, type DriverBinding } from "./machine/driver-binding.js";
export { linux } from "./machine/linux.js";
export type { BusType, Iommu, Machine, MachineDevice, PciIds } from "./machine/machine.js";
export type { AuditDifference, AuditProblem, AuditReport } from "./space/audit.js";
export { DmaMemory, type DmaMemoryOptions, type HugePages } from "./space/dma-memory.js";
export { type AllocateBufferOptions, IoAddressSpace, type OpenOptions } from "./space/io-address-space.js";
export type { ExplainedIovaRanges, ExplainedPageSizes, RemovedIovaRange } from "./space/iova-ranges.js";
export type { MapOptions } from "./space/map-request.js";
export { DmaBuffer, Mapping } from "./space/mapping.js";
export type { StrategyTrial } from "./space/strategies/auto.js";
export { type StrategyName, strategyNames } from "./space/strategies/strategy.js";
export { type Fault, type FaultySyscalls, faulty } from "./syscalls/faulty.js";
export type { Call } from "./syscalls/intercepted.js";
export {
  type Fd,
  type IoctlArgument,
  type MmapRequest,
  type Mmio,
  type ResourceLimit,
  SyscallError,
  type Syscalls,
} from "./syscalls/syscalls.js";
export { traced } from "./syscalls/traced.js";
export { type Access, Container, type ContainerInfo, type DmaMapping } from "./vfio/container.js";
export { Device, type DeviceIdentity } from "./vfio/device.js";
export { Group, type GroupIdentity } from "./vfio/group.js";
export { Interrupt, type InterruptEvent, type InterruptOptions } from "./vfio/interrupt.js";
export type { InterruptInfo, InterruptKind } from "./vfio/interrupts.js";
export type { PciConfig } from "./vfio/pci-config.js";
export { type MmapArea, Region, type RegionInfo } from "./vfio/region.js";
