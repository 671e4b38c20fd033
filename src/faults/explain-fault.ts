import { hex } from "../iova.js";
import type { FaultCause, IommuFault } from "./fault.js";
import { type Meaning, meaningOf } from "./meanings.js";
import { type FaultPlace, type FaultSpace, placeInSpace } from "./place-in-space.js";

/** A fault for people. */
export interface FaultExplanation extends Meaning {
  /** Who did what, and why it was refused: `0000:02:00.0 wrote to 0x60000124: nothing is mapped there`. */
  readonly summary: string;
  /** Where it is in the space; undefined where none was given. */
  readonly place: FaultPlace | undefined;
}

/**
 * Says in words what a fault means for a device in user space's hands, and what to do about it. With a space, also what of the
 * space is at or near the address, whether the mapping there allows the access, and which interface and IOMMU it was. Changes
 * nothing, asks the kernel nothing, never throws; {@link IoAddressSpace.audit} is what asks.
 * @param fault from `readFaults(log).faults`.
 * @param space as it is now, which may not be as it was when the fault came.
 */
export function explainFault(fault: IommuFault, space?: FaultSpace): FaultExplanation {
  const place = space === undefined ? undefined : placeInSpace(fault, space);
  return { summary: summary(fault, place), ...meaningOf(fault), place };
}

function summary(fault: IommuFault, place: FaultPlace | undefined): string {
  return `${who(fault, place)} ${deed(fault)}: ${reason(fault)}`;
}

function reason({ cause, format, detail, type }: IommuFault): string {
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
function who({ device, streamId, iommu }: IommuFault, place: FaultPlace | undefined): string {
  if (device?.from === "log") return device.name;
  if (streamId === undefined) return iommu === undefined ? "a device" : `a device behind ${iommu}`;
  const guess =
    place?.interfaceFrom === "iommu"
      ? ` (${place.interface}, if it is the space's)`
      : device && ` (${device.name}, if that is its PCI address)`;
  return `StreamID ${hex(streamId)}${guess ?? ""}`;
}

function deed({ access, address, addressUnit, instruction, cause }: IommuFault): string {
  const where = address === undefined ? "memory" : `${addressUnit === 1 ? "" : "the page "}${hex(address)}`;
  if (cause === "interrupt") return address === undefined ? "sent an interrupt" : `sent an interrupt to ${where}`;
  if (instruction === true && access === "read") return `fetched instructions from ${where}`;
  if (access === undefined) return `accessed ${where}`;
  return access === "write" ? `wrote to ${where}` : `read ${where}`;
}
