import { Option } from "commander";
import type { Survey } from "../survey/survey.js";

// What the definition of a command needs is here; what reads is loaded when it is wanted. `readTopology(flags): Topology`, which
// does not wait, is in machine/read-topology.ts, for modules that are loaded late themselves.

/** Where to look for a machine; this one where nothing is named. */
export interface SourceFlags {
  /** A sysfs, or the root it is in. */
  readonly sysfs?: string;
  /** A device tree, or the name of a chip of the package's. */
  readonly deviceTree?: string;
  /** A binary ACPI table. */
  readonly iort?: string;
  /** A saved machine. */
  readonly machine?: string;
}

/** What a command wants to know beyond what is cheap. */
export interface WantedFacts {
  /** Ask the kernel what free groups on VFIO drivers can map: this opens them, and closes them again. */
  readonly probe?: boolean;
  /** The kernel's log. */
  readonly log?: boolean;
  /** Names or paths of devices that more is wanted of, besides those that VFIO has; with those of their groups. */
  readonly devices?: readonly string[];
}

/** The options by which a command takes {@link SourceFlags}. */
export function sourceOptions(): Option[] {
  return [
    new Option("-s, --sysfs <folder>", "a sysfs: /sys, or a copy that has kept its links"),
    new Option("-t, --device-tree <file>", "a device tree (.dts, .dtb), or a chip that comes with iospan"),
    new Option("-i, --iort <file>", "a binary ACPI table: IORT (Arm), DMAR (Intel) or IVRS (AMD)"),
    new Option("-m, --machine <file>", "a machine that was saved; - for the standard input"),
  ];
}

/**
 * All that is known of the machine that was named, or of this one, before anything is opened.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for sources that do not go together or cannot be read. What cannot be read
 * beyond the topology is undefined.
 */
export async function readSurvey(flags: SourceFlags, wanted: WantedFacts = {}): Promise<Survey> {
  const reader = await import("./machine/read-survey.js");
  return reader.readSurvey(flags, wanted);
}

/**
 * Saves what a survey of all devices reads of the machine, to be looked at elsewhere. That includes firmware's tables, the kernel's
 * command line, names of processes that have groups open, and where it is wanted the kernel's log.
 * @param file written whole or not at all; an older one is replaced.
 * @throws IospanError as {@link readSurvey}, and where the file cannot be written.
 */
export async function saveSurvey(file: string, flags: SourceFlags, wanted: WantedFacts = {}): Promise<void> {
  const saver = await import("./machine/save-machine.js");
  await saver.saveSurvey(file, flags, wanted);
}
