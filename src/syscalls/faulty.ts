import { errnoName } from "../abi/errno.js";
import { type Call, intercepted } from "./intercepted.js";
import { SyscallError, type Syscalls } from "./syscalls.js";

/** Which call is to fail, and how. */
export interface Fault {
  /** Counts only the calls this accepts; every call where it is absent. */
  readonly match?: (call: Call) => boolean;
  /** The call that fails: the nth that matches, from 1. */
  readonly nth: number;
  /** The errno it fails with, positive. */
  readonly errno: number;
}

/** A {@link Syscalls} that fails as planned. */
export interface FaultySyscalls extends Syscalls {
  /** The plan; may be replaced at any time, which starts the count anew. `undefined` lets everything pass. */
  fault: Fault | undefined;
  /** Matching calls seen under the present plan. */
  readonly matched: number;
  /** The call that was made to fail, once that has happened. */
  readonly failed: Call | undefined;
}

/**
 * `inner`, with one call failing. The failing call is not performed, except close(2): Linux releases the descriptor
 * whatever close returns (man 2 close, "Dealing with error returns"), and so does this.
 */
export function faulty(inner: Syscalls, plan?: Fault): FaultySyscalls {
  let fault = plan;
  let matched = 0;
  let failed: Call | undefined;
  const strikes = (call: Call): boolean => {
    if (fault === undefined || !(fault.match?.(call) ?? true)) return false;
    matched += 1;
    return matched === fault.nth;
  };
  const syscalls = intercepted(inner, (call, proceed) => {
    if (fault === undefined || !strikes(call)) return proceed();
    failed = call;
    if (call.name === "close") proceed();
    throw new SyscallError(call.ioctl?.name ?? call.name, fault.errno, errnoName(fault.errno), "injected");
  });
  return Object.defineProperties(syscalls, {
    fault: {
      get: () => fault,
      set: (next: Fault | undefined) => {
        fault = next;
        matched = 0;
        failed = undefined;
      },
    },
    matched: { get: () => matched },
    failed: { get: () => failed },
  }) as FaultySyscalls;
}
