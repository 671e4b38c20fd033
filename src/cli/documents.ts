import type { Lifeline } from "../binding/lifelines/lifeline.js";
import type { PlannedReturn } from "../binding/unbind-devices.js";
import type { FaultNotice, IommuFault } from "../faults/fault.js";
import type { FaultOrigin } from "../faults/fault-origin.js";
import type { FaultOwner } from "../faults/id-owners.js";
import type { Plan, PlannedCompanion, PlannedDevice } from "../plan/plan.js";
import type { SavedDocument } from "../survey/saved/saved-document.js";
import type { Topology, TopologyDevice, TopologyMemory } from "../topology/topology.js";
import type { DemoResult } from "./demo/result.js";
import type { ExaminationJson } from "./doctor/json.js";

// What commands print with --json, as types. tools/schemas.mjs makes schemas/ of them: bigint becomes text (`0x…`), and for
// what is undefined see there.

/** What every command prints with `--json` in place of its result, where there is none; the exit code is 2, or 70 for a bug. */
export interface ErrorDocument {
  readonly error: {
    /** Stable: `ERR_IOSPAN_…`. */
    readonly code: string;
    /** What is wrong, in words. */
    readonly message: string;
    /** What to do about it. */
    readonly hint: string;
  };
}

/** A device or bus, and what is not known of it. */
export interface TopologyDeviceDocument extends TopologyDevice {
  /** Members that no source tells; null is known to be none. */
  readonly unknown: readonly ("driver" | "group" | "pci" | "requesterId" | "domain" | "host")[];
}

/** What `iospan topology --json` prints: which devices are behind which IOMMU. */
export interface TopologyDocument extends Omit<Topology, "devices" | "memory" | "aliases" | "others"> {
  /** Devices, and buses whose devices an IOMMU translates for. */
  readonly devices: readonly TopologyDeviceDocument[];
  /** Physical memory. */
  readonly memory: readonly TopologyMemory[] | "unknown";
  /** Other names for things, and what they stand for. */
  readonly aliases?: Readonly<Record<string, string>>;
}

/** Where and when in the log something is. */
export interface WhenDocument {
  /** The line of the log, from 1. */
  readonly line: number;
  /** The time as the log has it; null where it has none. */
  readonly time: string | null;
  /** Seconds since the machine was started, where the log counts so. */
  readonly uptime: number | null;
}

/** A fault, decoded; null is not known. */
export interface FaultDocument extends Omit<IommuFault, "time" | "line"> {}

/** Whose a fault is, as far as the sources tell; null is not known, or none. */
export interface FaultOriginDocument extends Omit<FaultOrigin, "devices"> {
  /** None, one, or several that have one ID in common. */
  readonly devices: readonly FaultOwner[];
}

/** Faults that are the same again and again, in words. */
export interface FaultGroupDocument {
  /** How many there are. */
  readonly count: number;
  readonly first: WhenDocument;
  readonly last: WhenDocument;
  /** The fault in a line. */
  readonly summary: string;
  /** What it means. */
  readonly meaning: string;
  /** What to do. */
  readonly advice: string;
  /** Null where no sources were asked. */
  readonly origin: FaultOriginDocument | null;
  /** The first of them. */
  readonly fault: FaultDocument;
}

/** A message that is no fault, and makes a difference to how many there are. */
export interface FaultNoticeDocument extends Omit<FaultNotice, "time" | "line">, WhenDocument {}

/** What `iospan faults --json` prints: what IOMMUs refused. */
export interface FaultsDocument {
  readonly version: 1;
  /** What was read. */
  readonly source: string;
  /** Lines that were read. */
  readonly lines: number;
  /** Faults that were found, those that repeat each time. */
  readonly faults: number;
  readonly groups: readonly FaultGroupDocument[];
  readonly notices: readonly FaultNoticeDocument[];
}

/** A line of what `iospan faults --follow --json` prints: a fault, or the same again with its count, or a notice. */
export interface FaultsItemDocument {
  readonly version: 1;
  readonly group?: FaultGroupDocument;
  readonly notice?: FaultNoticeDocument;
}

/** A device that was named; driver and group are null for none, and `unknown` where nobody tells. */
export interface PlannedDeviceDocument extends Omit<PlannedDevice, "driver" | "group"> {
  readonly driver: string | null;
  readonly group: number | "unknown" | null;
}

/** A device in the group of one that was named; its driver is null for none, and `unknown` where nobody tells. */
export interface PlannedCompanionDocument extends Omit<PlannedCompanion, "driver"> {
  readonly driver: string | null;
}

/** What `iospan plan --json` prints: whether and how devices can share one I/O address space. Null is what nobody tells. */
export interface PlanDocument extends Omit<Plan, "devices" | "companions"> {
  readonly devices: readonly PlannedDeviceDocument[];
  /** The other devices of the devices' groups. */
  readonly companions: readonly PlannedCompanionDocument[];
}

/** What `iospan demo --json` prints. */
export interface DemoDocument extends DemoResult {}

/** A machine that was saved, to be looked at elsewhere. */
export interface MachineDocument extends SavedDocument {}

/** What `iospan doctor --json` prints: what each check came to. */
export interface DoctorDocument extends ExaminationJson {}

/** A device that is bound or unbound. */
export interface BoundDeviceDocument {
  /** The kernel's name. */
  readonly name: string;
  /** `pci`, `platform`; null where the device is gone. */
  readonly bus: string | null;
  /** The IOMMU group's number; null for none. */
  readonly group: number | null;
  /** As in `/sys/class/iommu`; null for none. */
  readonly iommu: string | null;
}

/** What `iospan bind --json` prints: what was done, or would be with `--dry-run`. */
export interface BindDocument {
  readonly version: 1;
  /** Whether the devices are bound now. */
  readonly done: boolean;
  readonly dryRun: boolean;
  readonly devices: readonly (BoundDeviceDocument & {
    /** VFIO's driver that it goes to. */
    readonly driver: string;
    /** It was on that driver before. */
    readonly already: boolean;
    readonly previousDriver: string | null;
    readonly previousOverride: string | null;
  })[];
  /** Devices of the groups that keep their drivers. */
  readonly leftAlone: readonly (BoundDeviceDocument & { readonly driver: string | null })[];
  /** Devices of the groups that keep the groups from VFIO. */
  readonly companions: readonly (BoundDeviceDocument & { readonly driver: string | null })[];
  /** Why nothing was done. */
  readonly refusals: readonly { readonly device: string; readonly message: string; readonly hint: string }[];
  /** What the machine has on the devices. */
  readonly lifelines: readonly Pick<Lifeline, "kind" | "device" | "cuts" | "message">[];
  /** Files that could not be read, so that more may hang on the devices. */
  readonly unread: readonly string[];
  /** The same for a shell. */
  readonly commands: readonly string[];
  /** Files for every boot, and whether they were written. */
  readonly persist: readonly { readonly path: string; readonly text: string; readonly written: boolean }[];
}

/** How a device was bound before. */
export interface PreviousBindingDocument {
  /** Null: it had none. */
  readonly previousDriver: string | null;
  readonly previousOverride: string | null;
}

/** A device that is on VFIO. */
export interface HeldDeviceDocument extends BoundDeviceDocument {
  readonly driver: string | null;
  readonly driverOverride: string | null;
}

/** What `iospan bind --status --json` prints, and `iospan bind --json` without devices. */
export interface BindStatusDocument {
  readonly version: 1;
  /** On VFIO by iospan. */
  readonly bound: readonly (HeldDeviceDocument & PreviousBindingDocument)[];
  /** On VFIO by others. */
  readonly foreign: readonly HeldDeviceDocument[];
  /** Remembered, but not where iospan put them. */
  readonly astray: readonly (PreviousBindingDocument & {
    readonly name: string;
    /** Where it is instead. */
    readonly place: string;
    readonly driver: string | null;
    /** A bind did not come to its end. */
    readonly interrupted: boolean;
  })[];
  /** How many other devices there are. */
  readonly others: number;
}

/** What `iospan unbind --json` prints: what was done, or would be with `--dry-run`. */
export interface UnbindDocument {
  readonly version: 1;
  /** Whether the devices are back now. */
  readonly done: boolean;
  readonly dryRun: boolean;
  readonly devices: readonly (BoundDeviceDocument &
    Pick<PlannedReturn, "way"> & {
      /** The driver that it is taken from; null for none. */
      readonly previousDriver: string | null;
      /** The driver that it goes to; null for none. */
      readonly driver: string | null;
      /** What there is to know; null for nothing. */
      readonly remark: string | null;
    })[];
  /** Why nothing was done. */
  readonly refusals: readonly { readonly device: string; readonly message: string; readonly hint: string }[];
  /** The same for a shell. */
  readonly commands: readonly string[];
  /** Files for every boot that were removed. */
  readonly removed: readonly string[];
}
