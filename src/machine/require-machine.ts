import { IospanError } from "../errors.js";
import type { Machine } from "./machine.js";

/**
 * For programs without types, which may pass the arguments in another order.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what is no machine.
 */
export function requireMachine(machine: Machine | undefined): void {
  if (typeof machine?.syscalls?.readFile === "function") return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `a machine is wanted, not ${named(machine)}`, {
    hint: "linux() gives the one that the program runs on, and simulate() a simulated one; it is the first argument",
  });
}

function named(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return value === null ? "null" : typeof value;
}
