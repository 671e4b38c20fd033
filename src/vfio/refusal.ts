import { errno } from "../abi/errno.js";
import { type ErrorCode, IospanError, type IospanErrorFacts, malformedAnswer } from "../errors.js";
import { factsOf, SyscallError } from "../syscalls/syscalls.js";

/** What a refused call means in a given place. */
export interface Meaning {
  readonly code: ErrorCode;
  /** What could not be done and why, in words; the call and its errno are appended. */
  readonly message: string;
  readonly hint: string;
}

/** Whom an error is about. */
export type About = Pick<IospanErrorFacts, "device" | "iommu">;

/**
 * The {@link IospanError} for a refused system call: `meanings` by errno, else `otherwise`.
 * Anything that is no {@link SyscallError} is given back as it is, since it explains itself or is a bug.
 */
export function refusal(
  error: unknown,
  about: About,
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
export function unexplained(error: unknown, doing: string, about: About = {}): unknown {
  return refusal(error, about, {
    code: "ERR_IOSPAN_SYSCALL",
    message: `${doing} failed`,
    hint: "the kernel log may say more: dmesg | tail",
  });
}

/** What the errno values mean that say something has run out, whatever was asked for; added to what was `refused`. */
export function shortages(refused: Pick<Meaning, "code" | "message">): Readonly<Record<number, Meaning>> {
  const because = (what: string, hint: string): Meaning => ({
    code: refused.code,
    message: `${refused.message}: ${what}`,
    hint,
  });
  return {
    [errno.EMFILE]: because(
      "the process has too many files open",
      "raise the limit: ulimit -n 65536 in the shell, LimitNOFILE=65536 in a systemd unit; or close files",
    ),
    [errno.ENFILE]: because(
      "the machine has too many files open",
      "raise its limit: sysctl -w fs.file-max=… (ulimit -n is another one, for each process)",
    ),
    [errno.ENOMEM]: because(
      "the kernel has no memory left for it",
      "free memory, or raise memory.max of the process's cgroup",
    ),
  };
}

/** A device node, and what to do where it cannot be opened. */
export interface NodeHelp {
  readonly path: string;
  /** What messages call it: its path, or with a word on whose it is. */
  readonly subject?: string;
  /** What it means that it is not there. */
  readonly missing: Meaning;
  /** How to be let in. */
  readonly forbiddenHint: string;
  /** What to look for in the kernel log. */
  readonly logged: string;
}

/** Why a device node could not be opened. `others` are meanings that are the node's own. */
export function nodeRefusal(
  error: unknown,
  about: About,
  { path, subject = path, missing, forbiddenHint, logged }: NodeHelp,
  others: Readonly<Record<number, Meaning>> = {},
): unknown {
  const forbidden: Meaning = {
    code: "ERR_IOSPAN_NO_PERMISSION",
    message: `${subject} may not be opened`,
    hint: forbiddenHint,
  };
  const refused = { code: "ERR_IOSPAN_SYSCALL", message: `${subject} cannot be opened` } as const;
  return refusal(
    error,
    about,
    { ...refused, hint: `the kernel log may say more: dmesg | grep ${logged}` },
    {
      [errno.ENOENT]: missing,
      [errno.ENODEV]: missing,
      [errno.ENXIO]: missing,
      [errno.EACCES]: forbidden,
      [errno.EPERM]: { ...forbidden, hint: deviceCgroupHint(path) },
      ...shortages(refused),
      ...others,
    },
  );
}

/** How to be let through to a device node that is forbidden whatever its mode bits say. */
export function deviceCgroupHint(path: string): string {
  return `allow it in the device cgroup: --device ${path} for a container runtime, DeviceAllow=${path} rw in a systemd unit`;
}

/** {@link malformedAnswer}, with whom it is about. */
export function malformed(message: string, about: About): IospanError {
  const { code, hint } = malformedAnswer(message);
  return new IospanError(code, message, { ...about, hint });
}

/** An {@link IospanError} that does not say whom it is about, saying so; anything else, and what it says already, as it is. */
export function withFacts(error: unknown, about: About): unknown {
  if (!(error instanceof IospanError)) return error;
  const device = error.device ?? about.device;
  const iommu = error.iommu ?? about.iommu;
  if (device === error.device && iommu === error.iommu) return error;
  const { code, message, syscall, errno, hint, cause } = error;
  return new IospanError(code, message, { syscall, errno, device, iommu, hint, cause });
}
