export type { Ioctl, IoctlArgumentKind } from "./abi/ioctl.js";
export { type Check, type Diagnosis, type Outcome, outcomes, type Patient } from "./doctor/check.js";
export { checks } from "./doctor/checks.js";
export { type CheckResult, type Examination, type ExamineOptions, examine } from "./doctor/examine.js";
export {
  DualPathEngine,
  type DualPathEngineOptions,
  type DualPathFault,
  type DualPathInterfaces,
  type EngineCounters as DualPathCounters,
  type JobOptions as DualPathJobOptions,
  type JobReport as DualPathJobReport,
  type Via as DualPathVia,
} from "./drivers/dual-path-engine.js";
export { type ErrorCode, errorCodes, IospanError, type IospanErrorFacts } from "./errors.js";
export { explainFault, type FaultExplanation } from "./faults/explain-fault.js";
export {
  type FaultCause,
  type FaultDevice,
  type FaultFormat,
  type FaultNotice,
  faultCauses,
  faultFormats,
  type IommuFault,
  type LogTime,
} from "./faults/fault.js";
export { type FaultGroup, groupFaults } from "./faults/fault-groups.js";
export { type FaultOrigin, faultOrigin } from "./faults/fault-origin.js";
export { type FaultLog, FaultReader, readFaults } from "./faults/fault-reader.js";
export type { FaultOwner } from "./faults/id-owners.js";
export type { FaultPlace, FaultSpace, NearMapping } from "./faults/place-in-space.js";
export { BoundDevice } from "./iommufd/bound-device.js";
export type { CdevIdentity } from "./iommufd/cdev-refusals.js";
export { DirtyPages } from "./iommufd/dirty-pages.js";
export type { HardwareInfo, Smmuv3Info } from "./iommufd/hardware-info.js";
export { type DirtyQuestion, HwPageTable, type PageTableOptions } from "./iommufd/hw-page-table.js";
export type { CopiedMapping, FileMapping, UnplacedMapping } from "./iommufd/io-mapping.js";
export { Ioas } from "./iommufd/ioas.js";
export { Iommufd, type LimitMode } from "./iommufd/iommufd.js";
export type { IovaRules } from "./iommufd/iova-ranges-call.js";
export { hex, type Iova, type IovaRange, iova } from "./iova.js";
export { findDevice, listDevices } from "./machine/devices.js";
export { type BindOptions, bindToVfio, type DriverBinding } from "./machine/driver-binding.js";
export { linux } from "./machine/linux.js";
export type { BusType, Iommu, Machine, MachineDevice, PciIds, ReservedRegion } from "./machine/machine.js";
export type { FileStatus, MachineFiles } from "./machine/machine-files.js";
export type { SysfsSource } from "./machine/sysfs.js";
export { type Candidates, planCandidates } from "./plan/candidates.js";
export { findPlanned } from "./plan/find-devices.js";
export type {
  EntryBudget,
  MemoryForecast,
  Plan,
  PlannedCompanion,
  PlannedDevice,
  PlannedPageSizes,
  PlannedRanges,
  PlanStep,
  PlanTrap,
  StrategyPlan,
  Verdict,
} from "./plan/plan.js";
export { planToJson } from "./plan/plan-to-json.js";
export { Planner, planSpace } from "./plan/planner.js";
export type { UserDevices } from "./sim/chip/device-models.js";
export {
  type DeviceFactory,
  type DeviceHost,
  type DeviceKind,
  type DeviceTimer,
  type DmaPort,
  type PciIdentity,
  type RegisterWidth,
  registerWidths,
  type SimulatedDevice,
} from "./sim/hw/device-model.js";
export { type SimulatedDeviceOptions, simulatedDevice } from "./sim/hw/simulated-device.js";
export type { Capability, ContainerProvider } from "./sim/linux/description.js";
export { simulate } from "./sim/simulate.js";
export type { SimulatedBugs, SimulateOptions } from "./sim/simulate-options.js";
export type { SimulatedInterface, SimulatedMachine, SimulatedSmmu } from "./sim/simulated-machine.js";
export type { AuditDifference, AuditProblem, AuditReport } from "./space/audit.js";
export type { DeviceRequest } from "./space/device-request.js";
export { DmaMemory, type DmaMemoryOptions, type HugePages } from "./space/dma-memory.js";
export { type AllocateBufferOptions, IoAddressSpace, type OpenOptions } from "./space/io-address-space.js";
export type { ExplainedIovaRanges, ExplainedPageSizes, RemovedIovaRange } from "./space/iova-ranges.js";
export type { MapOptions } from "./space/map-request.js";
export { DmaBuffer, Mapping } from "./space/mapping.js";
export { type PeerMechanism, type PeerToPeer, peerMechanisms } from "./space/peer-to-peer.js";
export type { OnRemoval } from "./space/removals.js";
export type { StrategyTrial } from "./space/strategies/auto.js";
export { type StrategyName, strategyNames } from "./space/strategies/strategy.js";
export { askGroups, withAnswers, withLog } from "./survey/ask-groups.js";
export { parseSavedMachine } from "./survey/saved/parse-saved-machine.js";
export { type SaveOptions, saveMachine } from "./survey/saved/save-machine.js";
export type { SavedMachine } from "./survey/saved/saved-machine.js";
export type {
  DeviceFacts,
  GroupAnswer,
  GroupFacts,
  KernelFacts,
  ProcessFacts,
  Survey,
  VfioFacts,
} from "./survey/survey.js";
export { type SurveyOptions, surveyMachine, surveyOfTopology } from "./survey/survey-machine.js";
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
  type WatchOptions,
} from "./syscalls/syscalls.js";
export { sysfsTraces, type TraceOptions, traced } from "./syscalls/traced.js";
export { mergeTopologies } from "./topology/merge.js";
export { topologyToDot } from "./topology/render/dot.js";
export type { PictureOptions } from "./topology/render/graph.js";
export { topologyToJson } from "./topology/render/json.js";
export { topologyToMermaid } from "./topology/render/mermaid.js";
export { selectTopology, type TopologySelection } from "./topology/select.js";
export { topologyOfSysfs } from "./topology/sysfs/topology-of-sysfs.js";
export {
  type Finding,
  type IdRange,
  type IommuKind,
  type IommuLink,
  iommuKinds,
  type SourceKind,
  type SourcePaths,
  sourceKinds,
  type Topology,
  type TopologyDevice,
  type TopologyEngine,
  type TopologyGroup,
  type TopologyIommu,
  type TopologyMemory,
  type TopologyPciIds,
  type TopologySource,
} from "./topology/topology.js";
export { topologyOfAcpi } from "./topology/topology-of-acpi.js";
export { topologyOfDeviceTree } from "./topology/topology-of-device-tree.js";
export { type Access, Container, type ContainerInfo, type ContainerKind, type DmaMapping } from "./vfio/container.js";
export { Device, type DeviceIdentity, type DeviceSource } from "./vfio/device.js";
export { Group, type GroupIdentity } from "./vfio/group.js";
export type { HotResetDevice, HotResetScope } from "./vfio/hot-reset-scope.js";
export { Interrupt, type InterruptEvent, type InterruptOptions } from "./vfio/interrupt.js";
export type { InterruptInfo, InterruptKind } from "./vfio/interrupts.js";
export type { PciConfig } from "./vfio/pci-config.js";
export type { About } from "./vfio/refusal.js";
export { type MmapArea, Region, type RegionInfo } from "./vfio/region.js";
