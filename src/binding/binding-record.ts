import { IospanError } from "../errors.js";
import { type BusType, busTypes } from "../machine/machine.js";

/** What iospan remembers of a device that it bound to VFIO. */
export interface BindingEntry {
  readonly device: string;
  readonly bus: BusType;
  /** Where iospan put it. */
  readonly driver: string;
  /** Where it was, and where it goes back; null where it had no driver, or no `driver_override`. */
  readonly previousDriver: string | null;
  readonly previousOverride: string | null;
  /** `intended` until the change is known to be made: where it stays so, a run of iospan ended in between. */
  readonly state: "intended" | "bound";
}

/** All that iospan remembers, of one boot. */
export interface BindingRecord {
  /** `/proc/sys/kernel/random/boot_id`; empty where the kernel does not tell. */
  readonly bootId: string;
  readonly entries: readonly BindingEntry[];
}

/** Goes up when what is written changes its meaning. */
const VERSION = 1;

/** The record as it is kept in a file. */
export function formatRecord({ bootId, entries }: BindingRecord): string {
  return `${JSON.stringify({ format: "iospan-bindings", version: VERSION, bootId, entries }, undefined, 2)}\n`;
}

/**
 * The record of this boot; without entries where there is none, or only one of an earlier boot, which says nothing any more.
 * @param text undefined where there is no file.
 * @throws IospanError `ERR_IOSPAN_INCONSISTENT` for text that is no record, or of a later version.
 */
export function parseRecord(text: string | undefined, bootId: string, file: string): BindingRecord {
  const none: BindingRecord = { bootId, entries: [] };
  if (text === undefined) return none;
  const value = parseJson(text);
  if (!isObject(value) || value["format"] !== "iospan-bindings") throw unreadable(file, "it is no record of bindings");
  if (value["version"] !== VERSION)
    throw unreadable(file, `its version is ${String(value["version"])}, not ${VERSION}`);
  const { bootId: written, entries } = value;
  if (typeof written !== "string" || !Array.isArray(entries)) throw unreadable(file, "parts of it are missing");
  if (written !== bootId) return none;
  if (!entries.every(isEntry)) throw unreadable(file, "an entry of it is malformed");
  return { bootId, entries };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isEntry(value: unknown): value is BindingEntry {
  if (!isObject(value)) return false;
  const { device, bus, driver, previousDriver, previousOverride, state } = value;
  return (
    isName(device) &&
    busTypes.some((each) => each === bus) &&
    isName(driver) &&
    (previousDriver === null || isName(previousDriver)) &&
    (previousOverride === null || isName(previousOverride)) &&
    (state === "intended" || state === "bound")
  );
}

/** They become parts of paths in sysfs. */
function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value !== "." && value !== ".." && !/[/\n\0]/.test(value);
}

function unreadable(file: string, problem: string): IospanError {
  return new IospanError("ERR_IOSPAN_INCONSISTENT", `${file} cannot be read: ${problem}`, {
    hint: `see what is in it, and remove it if nobody needs it: mv ${file} ${file}.old (devices keep their drivers)`,
  });
}
