import type { IommuKind, Topology, TopologyIommu } from "../topology/topology.js";
import type { FaultFormat, IommuFault } from "./fault.js";

const KINDS: Readonly<Record<FaultFormat, IommuKind>> = {
  "arm-smmu-v3": "arm,smmu-v3",
  "arm-smmu": "arm,smmu",
  dmar: "intel",
  "amd-vi": "amd",
};

/** The kernel numbers devices that ACPI tables describe as it meets them (drivers/acpi/arm64/iort.c, iort_add_platform_device). */
const NUMBERED = /\.\d+\.auto$/;

/**
 * The IOMMUs of a topology that a fault may be of: the one that the log names, or where it names none, or by a number that no
 * source tells, every one of its kind. Empty where the topology has none of that name.
 */
export function loggedIommus({ format, iommu }: IommuFault, topology: Topology): readonly TopologyIommu[] {
  const { iommus } = topology;
  const kin = iommusOfFormat(format, topology);
  if (iommu === undefined) return kin;
  const named = iommus.filter((each) => isCalled(each, iommu));
  if (named.length > 0) return named;
  return NUMBERED.test(iommu) ? kin.filter(({ device }) => device === undefined) : [];
}

/** The IOMMUs whose driver writes records of a format. */
export function iommusOfFormat(format: FaultFormat, { iommus }: Topology): readonly TopologyIommu[] {
  return iommus.filter(({ kind }) => kind === KINDS[format]);
}

/** By its device, its name in `/sys/class/iommu`, or its address, which a device tree's devices have in their names. */
function isCalled({ device, name, addresses }: TopologyIommu, logged: string): boolean {
  if (device === logged || name === logged) return true;
  const digits = /^([0-9a-f]{1,16})\.[^.]+$/.exec(logged)?.[1];
  return digits !== undefined && device === undefined && addresses[0] === BigInt(`0x${digits}`);
}
