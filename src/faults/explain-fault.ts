import { hex } from "../iova.js";
import type { Topology } from "../topology/topology.js";
import type { FaultCause, IommuFault } from "./fault.js";
import { type FaultOrigin, faultOrigin, type NamedFault, withOrigin } from "./fault-origin.js";
import { type Meaning, meaningOf } from "./meanings.js";
import { type FaultPlace, type FaultSpace, placeInSpace } from "./place-in-space.js";

/** A fault for people. */
export interface FaultExplanation extends Meaning {
  /** Who did what, and why it was refused: `0000:02:00.0 wrote to 0x60000124: nothing is mapped there`. */
  readonly summary: string;
  /** Where it is in the space; undefined where none was given. */
  readonly place: FaultPlace | undefined;
  /** Whose it is by the topology; undefined where none was given. */
  readonly origin: FaultOrigin | undefined;
}

/**
 * Says in words what a fault means for a device in user space's hands, and what to do about it. With a space, also what of the
 * space is at or near the address, whether the mapping there allows the access, and which interface and IOMMU it was. Changes
 * nothing, asks the kernel nothing, never throws; {@link IoAddressSpace.audit} is what asks.
 * @param fault from `readFaults(log).faults`.
 * @param space as it is now, which may not be as it was when the fault came.
 * @param topology of the machine that the log is of: it tells the device where the log has only an ID.
 */
export function explainFault(fault: IommuFault, space?: FaultSpace, topology?: Topology): FaultExplanation {
  const origin = topology === undefined ? undefined : faultOrigin(fault, topology);
  const known = withOrigin(fault, origin);
  const place =
    space === undefined ? undefined : placeInSpace({ ...known, iommu: origin?.iommu ?? fault.iommu }, space);
  return { summary: summary(known, place, origin), ...meaningOf(fault), place, origin };
}

function summary(fault: NamedFault, place: FaultPlace | undefined, origin: FaultOrigin | undefined): string {
  return `${who(fault, place, origin)} ${deed(fault)}: ${reason(fault)}`;
}

function reason({ cause, format, detail, type }: NamedFault): string {
  if (cause === "unknown") return detail ?? type;
  // Intel's IOMMUs often cannot tell an absent mapping from one without the right.
  return cause === "not-mapped" && format === "dmar" ? "nothing is mapped there for that" : REASONS[cause];
}

const REASONS: Readonly<Record<FaultCause, string>> = {
  "not-mapped": "nothing is mapped there",
  "not-permitted": "the mapping there does not allow it",
  "address-size": "the address is too large",
  "unknown-stream": "the IOMMU does not know the device",
  configuration: "the IOMMU's configuration for the device is invalid",
  blocked: "the IOMMU is told to refuse that",
  "table-fetch": "the IOMMU could not read its tables",
  interrupt: "the interrupt was refused",
  hardware: "the IOMMU or the way to it failed",
  unknown: "no reason given",
};

/** The best name there is, and how sure it is. */
function who(
  { device, streamId, iommu }: NamedFault,
  place: FaultPlace | undefined,
  origin: FaultOrigin | undefined,
): string {
  if (device !== undefined && device.from !== "stream") return device.name;
  if (streamId === undefined) return iommu === undefined ? "a device" : `a device behind ${iommu}`;
  const several = origin?.devices.map(({ name }) => name) ?? [];
  const guess =
    several.length > 1
      ? ` (${several.join(" or ")})`
      : place?.interfaceFrom === "iommu"
        ? ` (${place.interface}, if it is the space's)`
        : device && ` (${device.name}, if that is its PCI address)`;
  return `StreamID ${hex(streamId)}${guess ?? ""}`;
}

function deed({ access, address, addressUnit, instruction, cause }: NamedFault): string {
  const where = address === undefined ? "memory" : `${addressUnit === 1 ? "" : "the page "}${hex(address)}`;
  if (cause === "interrupt") return address === undefined ? "sent an interrupt" : `sent an interrupt to ${where}`;
  if (instruction === true && access === "read") return `fetched instructions from ${where}`;
  if (access === undefined) return `accessed ${where}`;
  return access === "write" ? `wrote to ${where}` : `read ${where}`;
}
