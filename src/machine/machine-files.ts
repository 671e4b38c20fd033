import type { Syscalls } from "../syscalls/syscalls.js";

/** Who may do what with a file, as stat(2) says. */
export interface FileStatus {
  /** `st_mode`: type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The files of a machine by which it can be looked at: this one's, a copy of another's, a saved one's. Paths are absolute, as
 * on that machine. Everything is only read, and what is not there is refused as the kernel refuses it, with a `SyscallError`; of
 * what a saved one was not saved with nobody knows that, which is an IospanError `ERR_IOSPAN_SAVED_MACHINE`.
 */
export interface MachineFiles extends Pick<Syscalls, "readFile" | "readBytes" | "readDirectory" | "readLink"> {
  /** Follows links. Absent where permissions are not known: in a simulated kernel, in a copy. */
  status?(path: string): FileStatus;
}
