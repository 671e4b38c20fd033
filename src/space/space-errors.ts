import { errno } from "../abi/errno.js";
import { type ErrorCode, IospanError, type IospanErrorFacts } from "../errors.js";
import { SyscallError } from "../syscalls/syscalls.js";
import type { StrategyTrial } from "./strategies/auto.js";
import type { StrategyName } from "./strategies/strategy.js";

/**
 * What a kernel may have against one of its interfaces to VFIO and not against another: each has its own device nodes, with
 * permissions of their own, its own switch for unsafe interrupts, and its own way of attaching and of being built.
 * Who holds a group holds it for all; but the kernel's answer for that stands for other reasons, too.
 */
const STRATEGYS: readonly string[] = [
  "ERR_IOSPAN_ATTACH_REFUSED",
  "ERR_IOSPAN_GROUP_BUSY",
  "ERR_IOSPAN_MALFORMED_ANSWER",
  "ERR_IOSPAN_NO_IOMMUFD",
  "ERR_IOSPAN_NO_PERMISSION",
  "ERR_IOSPAN_NO_VFIO",
  "ERR_IOSPAN_SYSCALL",
  "ERR_IOSPAN_UNSAFE_INTERRUPTS",
  "ERR_IOSPAN_VERIFY_FAILED",
  "ERR_IOSPAN_VF_TOKEN",
] satisfies readonly ErrorCode[];

/** What has run out has run out for every strategy. */
const SHORTAGES: readonly (number | undefined)[] = [errno.EMFILE, errno.ENFILE, errno.ENOMEM];

/**
 * Whether another strategy may fare better. Not where what was asked for is wrong (no such device, one that is not bound to VFIO
 * or has no IOMMU, arguments), and not where something could not be undone.
 */
export function isStrategys(error: unknown): error is IospanError {
  return error instanceof IospanError && STRATEGYS.includes(error.code) && !SHORTAGES.includes(error.errno);
}

/** The caller's proof failed with this strategy. */
export function notVerified(strategy: StrategyName, cause: unknown): IospanError {
  const { device, iommu } = cause instanceof IospanError ? cause : {};
  const text = cause instanceof Error ? cause.message : String(cause);
  return new IospanError(
    "ERR_IOSPAN_VERIFY_FAILED",
    `with the strategy "${strategy}" every device was attached, but options.verify failed: ${text}`,
    { device, iommu, cause, hint: `the cause says more${strategy === "mirrored" ? "" : LEAST_RELIANT}` },
  );
}

const LEAST_RELIANT = '; { strategy: "mirrored" } relies on the kernel least';

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a `verify` that cannot be called. */
export function checkVerify(verify: unknown): void {
  if (verify === undefined || typeof verify === "function") return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `options.verify is no function but ${typeof verify}`, {
    hint: "leave it out, or give a function that throws where a device does not reach memory",
  });
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for an `onRemoval` that cannot be called. */
export function checkOnRemoval(onRemoval: unknown): void {
  if (onRemoval === undefined || typeof onRemoval === "function") return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `options.onRemoval is no function but ${typeof onRemoval}`, {
    hint: "leave it out, or give a function that ends the work of the device that it is given",
  });
}

/** No other strategy would change that. */
export function closedByVerify(): IospanError {
  return new IospanError("ERR_IOSPAN_CLOSED", "options.verify has closed the space", {
    hint: "leave it open where every device reaches memory, and throw where one does not: open() closes it then",
  });
}

/** A device that the kernel asked for back before the space was open. */
export function removedWhileOpening(device: string): IospanError {
  const message = `${device} was removed while the space opened: the kernel asked for it back, to unplug it or to unbind it`;
  return new IospanError("ERR_IOSPAN_DEVICE_REMOVED", message, {
    device,
    hint: "when it is there again and on vfio-pci, open the space again; or open it without the device",
  });
}

/** The last strategy's error, with why those before it were passed over; the same reason is told once. */
export function afterOthers(error: unknown, passedOver: readonly StrategyTrial[]): unknown {
  if (!(error instanceof IospanError)) return error;
  const { code, message, syscall, errno, device, iommu, hint, cause } = error;
  if (passedOver.length === 0) return error;
  const before = [...byReason(passedOver)].map(([reason, names]) => {
    const were = `${listed(names)} ${names.length === 1 ? "was" : "were"} passed over`;
    return reason === anonymous(message) ? `${were} for the same` : `${were}: ${reason}`;
  });
  return new IospanError(code, `${message}; before, ${before.join("; ")}`, {
    ...{ syscall, errno, device, iommu, hint, cause },
  });
}

function byReason(passedOver: readonly StrategyTrial[]): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const { strategy, reason } of passedOver) {
    const text = anonymous(reason);
    names.set(text, [...(names.get(text) ?? []), `"${strategy}"`]);
  }
  return names;
}

/** Without the strategy that {@link notVerified} puts in front. */
function anonymous(reason: string): string {
  return reason.replace(/^with the strategy "[^"]*" /, "");
}

function listed(names: readonly string[]): string {
  return names.length < 3 ? names.join(" and ") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** What is to be mapped is something else. */
export function notDmaMemory(): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "only DmaMemory, and a Region of a device, can be mapped", {
    hint: "DmaMemory.allocate(machine, size): memory that stays where it is",
  });
}

/** Nothing can be done with a closed space. */
export function closedError(): IospanError {
  return new IospanError("ERR_IOSPAN_CLOSED", "the space is closed", { hint: "open a new one" });
}

/** The facts of the first failure, for the device that it is about. */
export function incomplete(
  what: string,
  failures: readonly unknown[],
  about: Pick<IospanErrorFacts, "device" | "iommu"> = {},
): IospanError {
  const [first] = failures;
  const more = failures.length === 1 ? "" : ` (and ${failures.length - 1} more)`;
  const { device = about.device, iommu = about.iommu } = first instanceof IospanError ? first : about;
  const refused = first instanceof IospanError || first instanceof SyscallError ? first : undefined;
  const text = first instanceof Error ? first.message : String(first);
  return new IospanError("ERR_IOSPAN_CLOSE_INCOMPLETE", `${what}, but not every step went well: ${text}${more}`, {
    ...{ device, iommu, syscall: refused?.syscall, errno: refused?.errno },
    hint: "error.cause.errors lists what failed; all else is released",
    cause: new AggregateError(failures, what),
  });
}
