import { IospanError } from "../errors.js";

/**
 * The error for a device tree that cannot be used.
 * @param where the node's path, or the place in the file
 * @param problem what is wrong there
 * @param hint what to do about it
 */
export function deviceTreeError(where: string, problem: string, hint: string): IospanError {
  return new IospanError("ERR_IOSPAN_DEVICE_TREE", `device tree: ${where}: ${problem}`, { hint });
}
