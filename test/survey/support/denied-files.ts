import { type ErrnoName, errno, errnoName } from "../../../src/abi/errno.js";
import type { MachineFiles } from "../../../src/machine/machine-files.js";
import { SyscallError } from "../../../src/syscalls/syscalls.js";

/** Files of which some are refused. @param refusal what a path is refused with; undefined for none */
export function deniedFiles(files: MachineFiles, refusal: (path: string) => ErrnoName | undefined): MachineFiles {
  const check = (path: string) => {
    const name = refusal(path);
    if (name !== undefined) throw new SyscallError("openat", errno[name], errnoName(errno[name]), path);
    return path;
  };
  return {
    readFile: (path) => files.readFile(check(path)),
    readBytes: (path) => files.readBytes(check(path)),
    readDirectory: (path) => files.readDirectory(check(path)),
    readLink: (path) => files.readLink(check(path)),
    ...(files.status && { status: (path: string) => files.status!(check(path)) }),
  };
}
