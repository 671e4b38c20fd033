import { linuxSyscalls } from "../syscalls/linux.js";
import type { Machine } from "./machine.js";

/**
 * The machine this process runs on.
 * @throws IospanError `ERR_IOSPAN_UNSUPPORTED_PLATFORM` unless that is 64-bit Linux.
 */
export function linux(): Machine {
  return { syscalls: linuxSyscalls() };
}
