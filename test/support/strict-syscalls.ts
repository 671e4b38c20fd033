import { type ErrnoName, errno, errnoName } from "../../src/abi/errno.js";
import { type Fd, SyscallError, type Syscalls } from "../../src/syscalls/syscalls.js";

/**
 * A {@link Syscalls} that can do what a test set up and nothing else: any other call throws, so that no test passes
 * because a call quietly did nothing.
 */
export function strictSyscalls(calls: Partial<Syscalls> = {}): Syscalls {
  const known: Partial<Syscalls> = { pageSize: 4096, ...calls };
  return new Proxy(known, {
    get(target, name) {
      if (typeof name === "symbol" || (name === "kernel" && target.kernel === undefined)) return undefined;
      const call = target[name as keyof Syscalls];
      if (call !== undefined) return call;
      return (...values: unknown[]) => {
        throw new Error(`the test did not expect ${name}(${values.map(String).join(", ")})`);
      };
    },
  }) as Syscalls;
}

/** What a kernel answers when it refuses. */
export function refused(syscall: string, name: ErrnoName): SyscallError {
  return new SyscallError(syscall, errno[name], errnoName(errno[name]));
}

export function fd(number: number): Fd {
  return number as Fd;
}
