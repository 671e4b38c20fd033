import { type ErrorCode, IospanError, type IospanErrorFacts } from "../errors.js";
import { factsOf, SyscallError } from "../syscalls/syscalls.js";

/** What a refused call means in a given place. */
export interface Meaning {
  readonly code: ErrorCode;
  /** What could not be done and why, in words; the call and its errno are appended. */
  readonly message: string;
  readonly hint: string;
}

/**
 * The {@link IospanError} for a refused system call: `meanings` by errno, else `otherwise`.
 * Anything that is no {@link SyscallError} is given back as it is, since it explains itself or is a bug.
 */
export function refusal(
  error: unknown,
  about: Pick<IospanErrorFacts, "device" | "iommu">,
  otherwise: Meaning,
  meanings: Readonly<Record<number, Meaning>> = {},
): unknown {
  if (!(error instanceof SyscallError)) return error;
  const { code, message, hint } = meanings[error.errno] ?? otherwise;
  return new IospanError(code, `${message} (${error.message})`, { ...about, ...factsOf(error), hint });
}

/** Runs `call`, turning what it throws into what `explain` makes of it. */
export function explained<T>(call: () => T, explain: (error: unknown) => unknown): T {
  try {
    return call();
  } catch (error) {
    throw explain(error);
  }
}

/** {@link explained} for an asynchronous call. */
export async function explainedAsync<T>(call: () => Promise<T>, explain: (error: unknown) => unknown): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw explain(error);
  }
}
