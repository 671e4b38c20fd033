import { IospanError } from "../../src/errors.js";
import { SyscallError } from "../../src/syscalls/syscalls.js";

/** What `action` throws. It must throw. */
export function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** What the promise is rejected with. It must be. */
export async function rejectionOf(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the promise was not rejected");
}

/** The {@link IospanError} that `action` throws; anything else is shown as it is. */
export function errorOf(action: () => unknown): IospanError {
  return anIospanError(thrownBy(action));
}

export async function errorFrom(promise: PromiseLike<unknown>): Promise<IospanError> {
  return anIospanError(await rejectionOf(promise));
}

/** The {@link SyscallError} that `action` throws; anything else is shown as it is. */
export function refusalOf(action: () => unknown): SyscallError {
  return aSyscallError(thrownBy(action));
}

export async function refusalFrom(promise: PromiseLike<unknown>): Promise<SyscallError> {
  return aSyscallError(await rejectionOf(promise));
}

function anIospanError(error: unknown): IospanError {
  if (error instanceof IospanError) return error;
  throw new Error(`not an IospanError: ${error}`, { cause: error });
}

function aSyscallError(error: unknown): SyscallError {
  if (error instanceof SyscallError) return error;
  throw new Error(`not a SyscallError: ${error}`, { cause: error });
}
