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

/**
 * An {@link IospanError} for a refused system call that no meaning is known for; anything else as it is.
 * @param doing what the call was part of: `attaching 0000:02:00.0`.
 */
export function unexplained(
  error: unknown,
  doing: string,
  about: Pick<IospanErrorFacts, "device" | "iommu"> = {},
): unknown {
  return refusal(error, about, {
    code: "ERR_IOSPAN_SYSCALL",
    message: `${doing} failed`,
    hint: "the kernel log may say more: dmesg | tail",
  });
}
