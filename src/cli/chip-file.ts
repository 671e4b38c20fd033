import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { IospanError } from "../errors.js";
import { isSystemError } from "./failure.js";
import { packageFile, shippedChips } from "./package-files.js";
import { readStandardInput } from "./standard-input.js";

/** The chip that commands take when none is named: one engine, two interfaces, two SMMUs. */
export const DEFAULT_CHIP = "dual-smmu";

/** A device tree, as read from a file. */
export interface ChipFile {
  /** The file's name, without its folders. */
  readonly name: string;
  /** Source or blob. */
  readonly content: Uint8Array;
}

/** No device tree comes near; what is larger was not meant. */
const LARGEST = 64 * 2 ** 20;
const STANDARD_INPUT = "/dev/stdin";

/**
 * Reads a device tree.
 * @param wanted a file, or the name of a chip of the package's.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` when there is no such file or it cannot be read.
 */
export function readChip(wanted: string): ChipFile {
  const file = locate(wanted);
  return { name: path.basename(file), content: read(file, wanted) };
}

/** A file of the user's goes before a chip of the package's. */
function locate(wanted: string): string {
  const shipped = shippedChips().find((name) => wanted === name || wanted === `${name}.dts`);
  if (shipped === undefined || statSync(wanted, { throwIfNoEntry: false }) !== undefined) return wanted;
  return packageFile(`chips/${shipped}.dts`);
}

function read(file: string, wanted: string): Uint8Array {
  try {
    const { size, isUsable } = look(file);
    if (file === STANDARD_INPUT && isUsable) return readInput(wanted);
    if (!isUsable) throw unreadable(wanted, "it is not a file");
    if (size > LARGEST) throw unreadable(wanted, `it has ${size} bytes`);
    return readFileSync(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw unreadable(wanted, error.code === "ENOENT" ? "there is no such file" : error.message);
  }
}

/** A pipe is as good as a file: `--chip <(dtc …)`. */
function look(file: string): { size: number; isUsable: boolean } {
  const stat = statSync(file);
  return { size: stat.size, isUsable: stat.isFile() || stat.isFIFO() || (file === STANDARD_INPUT && stat.isSocket()) };
}

function readInput(wanted: string): Uint8Array {
  const content = readStandardInput(LARGEST);
  if (content === undefined) throw unreadable(wanted, `it has more than ${LARGEST} bytes`);
  return content;
}

function unreadable(wanted: string, why: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot read the device tree ${wanted}: ${why}`, {
    hint: chipHint(),
  });
}

/** What can be named. */
export function chipHint(): string {
  return `name a .dts or .dtb file, or one that comes with iospan: ${shippedChips().join(", ")}`;
}
