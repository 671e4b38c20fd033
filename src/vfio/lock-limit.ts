import { OptionalFiles } from "../machine/optional-files.js";
import { isFirstUserNamespace } from "../machine/user-namespace.js";
import { SyscallError, type Syscalls } from "../syscalls/syscalls.js";

/** How much memory a process may lock. */
export interface LockLimit {
  /** `RLIMIT_MEMLOCK` in bytes; undefined where it cannot be asked. */
  readonly bytes: number | undefined;
  /** Whether it is certain that the limit stops nothing, so that ENOMEM means that the machine is short of memory. */
  readonly isWithout: boolean;
}

/** CAP_IPC_LOCK as a bit of CapEff (include/uapi/linux/capability.h). */
const CAP_IPC_LOCK = 1n << 14n;

/** Asks the kernel how much memory the process may lock. */
export function lockLimit(syscalls: Syscalls): LockLimit {
  const bytes = limitBytes(syscalls);
  return { bytes, isWithout: bytes === Number.POSITIVE_INFINITY || ignoresLimit(syscalls) };
}

/** Said in passing: the error to report is another one, so it may be unknown. */
function limitBytes(syscalls: Syscalls): number | undefined {
  try {
    return syscalls.memlockLimit().soft;
  } catch (error) {
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}

/** The capability counts in the first user namespace only; in others CapEff has it, too, and the limit holds all the same. */
function ignoresLimit(syscalls: Syscalls): boolean {
  const files = new OptionalFiles(syscalls);
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(files.text("/proc/self/status") ?? "")?.[1];
  if (capabilities === undefined || (BigInt(`0x${capabilities}`) & CAP_IPC_LOCK) === 0n) return false;
  return isFirstUserNamespace(files) === true;
}
