import { hex } from "../iova.js";
import type { Topology, TopologyIommu } from "../topology/topology.js";
import type { FaultDevice, IommuFault } from "./fault.js";
import { type FaultOwner, type IdOwners, idOwners, ownerOf } from "./id-owners.js";
import { iommusOfFormat, loggedIommus } from "./logged-iommu.js";

/** IOMMUs that a text names. */
const MOST_IOMMUS = 4;

/** Which IOMMU a fault is of and whose it is, as a topology tells. */
export interface FaultOrigin {
  /** The IOMMU's name in the topology: in `/sys/class/iommu`, where that is known. Undefined where it cannot be told. */
  readonly iommu: string | undefined;
  /** None, one, or several that have one ID in common, or that are behind IOMMUs which cannot be told apart. */
  readonly devices: readonly FaultOwner[];
  /**
   * What says so. `log`: the kernel named the device. `ids`: the sources tell whose the ID is, or that it is nobody's.
   * `requester-id`: a guess, since no source tells; it is the ID of that PCI function, which is behind the IOMMU. `unknown`: nothing.
   */
  readonly from: "log" | "ids" | "requester-id" | "unknown";
  /** All that in words. */
  readonly text: string;
}

/**
 * Says whose a fault is: most kernels log a StreamID or a requester ID, and which device has it, firmware tells. Changes
 * nothing and never throws.
 * @param fault from `readFaults(log).faults`.
 * @param topology of the machine that the log is of, with its IDs: the kernel's sysfs does not have them, its device tree or ACPI
 * tables do, so that of both merged is best.
 */
export function faultOrigin(fault: IommuFault, topology: Topology): FaultOrigin {
  const iommus = loggedIommus(fault, topology);
  const iommu = iommus.length === 1 ? iommus[0]?.name : undefined;
  if (fault.device?.from === "log") return { iommu, from: "log", ...named(fault, fault.device.name, topology) };
  const nothing = { iommu, devices: [], from: "unknown" } as const;
  if (iommus.length === 0) return { ...nothing, text: unknownIommuText(fault, topology) };
  if (fault.streamId === undefined) return { ...nothing, text: "the log has no ID of a device" };
  const found = idOwners(fault.streamId, new Set(iommus.map(({ path }) => path)), topology);
  const text = ownersText(found, fault);
  const doubt = iommus.length === 1 ? "" : `; which IOMMU ${fault.iommu} is, no source tells`;
  return { iommu, devices: found.owners, from: found.from, text: text + doubt };
}

/** Which IOMMUs there are instead, and whose the ID would be at each. */
function unknownIommuText(fault: IommuFault, topology: Topology): string {
  const { iommu, streamId, format } = fault;
  const start = `no source has an IOMMU ${iommu ?? "of this kind"}`;
  const kin = iommusOfFormat(format, topology);
  if (iommu === undefined || kin.length === 0) return start;
  const guesses = streamId === undefined ? [] : guessesOf(streamId, kin, topology);
  if (guesses.length > 0 && streamId !== undefined) {
    const rest = guesses.length > MOST_IOMMUS ? "; and so on" : "";
    return `${start}; ${idKind(format)} ${hex(streamId)} would be ${guesses.slice(0, MOST_IOMMUS).join("; ")}${rest}`;
  }
  const names = kin.slice(0, MOST_IOMMUS).map(({ name }) => name);
  const more = kin.length > names.length ? ` and ${kin.length - names.length} more` : "";
  const nobody = streamId === undefined ? "" : `, and ${idKind(format)} ${hex(streamId)} is nobody's at any of them`;
  return `${start}; there ${kin.length === 1 ? "is" : "are"} ${names.join(", ")}${more}${nobody}`;
}

/** `9030000.dma-port, if this is smmu3.0x…`; devices that a source has go before those that may be behind a bus. */
function guessesOf(id: number, iommus: readonly TopologyIommu[], topology: Topology): readonly string[] {
  const found = iommus.flatMap(({ path, name }) => {
    const { owners } = idOwners(id, new Set([path]), topology);
    const text = `${owners.map((each) => each.name).join(" or ")}, if this is ${name}`;
    return owners.length === 0 ? [] : [{ text, isListed: owners.some((each) => each.path !== undefined) }];
  });
  return found.sort((a, b) => Number(b.isListed) - Number(a.isListed)).map(({ text }) => text);
}

function idKind(format: IommuFault["format"]): string {
  return format === "arm-smmu-v3" || format === "arm-smmu" ? "StreamID" : "requester ID";
}

/** A fault whose device a topology may have named. @internal */
export type NamedFault = Omit<IommuFault, "device"> & {
  readonly device: { readonly name: string; readonly from: FaultDevice["from"] | "topology" } | undefined;
};

/** The fault with its device named by the topology, where that is sure. @internal */
export function withOrigin(fault: IommuFault, origin: FaultOrigin | undefined): NamedFault {
  if (origin === undefined || origin.from === "log" || origin.from === "unknown") return fault;
  const [device, ...others] = origin.devices;
  if (device === undefined || others.length > 0) return { ...fault, device: undefined };
  return { ...fault, device: { name: device.name, from: origin.from === "ids" ? "topology" : "stream" } };
}

/** The device that the kernel named. Intel's older kernels leave out the domain, which was taken to be 0. */
function named(
  { format, streamId }: IommuFault,
  name: string,
  { devices }: Topology,
): Pick<FaultOrigin, "devices" | "text"> {
  const exact = devices.filter((each) => each.name === name);
  const isX86 = format === "dmar" || format === "amd-vi";
  const alike = isX86 ? devices.filter(({ requesterId }) => requesterId === streamId && requesterId !== undefined) : [];
  const owners = (exact.length > 0 ? exact : alike).map((device) => ownerOf({ device }));
  return { devices: owners, text: owners.map(ownerText).join(", or ") || `${name}, which no source has` };
}

function ownersText({ owners, from, missing }: IdOwners, { streamId = 0, format }: IommuFault): string {
  const kind = idKind(format);
  const who = owners.map(ownerText).join(", or ");
  if (from === "requester-id") return `${who}, if ${hex(streamId)} is its requester ID: no source tells ${kind}s`;
  if (owners.length > 0) return who;
  if (from === "unknown") return `no source tells ${kind}s: the device tree or the IORT does, read as root`;
  const would = missing.map(({ name }) => name).join(" or ");
  return `no device has this ${kind}${would === "" ? "" : `: it would be that of ${would}, which is not there`}`;
}

function ownerText({ name, driver, group }: FaultOwner): string {
  const known = [
    driver === null ? "no driver" : driver === undefined ? undefined : `driver ${driver}`,
    group === null ? "in no group" : group === undefined ? undefined : `group ${group}`,
  ].filter((each) => each !== undefined);
  return known.length === 0 ? name : `${name} (${known.join(", ")})`;
}
