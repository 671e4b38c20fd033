import { type ErrorCode, IospanError, type IospanErrorFacts } from "../errors.js";
import { SyscallError } from "../syscalls/syscalls.js";
import type { StrategyTrial } from "./strategies/auto.js";
import type { StrategyName } from "./strategies/strategy.js";

const STRATEGYS: readonly string[] = [
  "ERR_IOSPAN_ATTACH_REFUSED",
  "ERR_IOSPAN_VERIFY_FAILED",
  "ERR_IOSPAN_NO_IOMMUFD",
] satisfies readonly ErrorCode[];

/** Whether another strategy may fare better. */
export function isStrategys(error: unknown): error is IospanError {
  return error instanceof IospanError && STRATEGYS.includes(error.code);
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

/** No other strategy would change that. */
export function closedByVerify(): IospanError {
  return new IospanError("ERR_IOSPAN_CLOSED", "options.verify has closed the space", {
    hint: "leave it open where every device reaches memory, and throw where one does not: open() closes it then",
  });
}

/** The last strategy's error, with why those before it were passed over. */
export function afterOthers(error: unknown, passedOver: readonly StrategyTrial[]): unknown {
  if (passedOver.length === 0 || !(error instanceof IospanError)) return error;
  const { code, message, syscall, errno, device, iommu, hint, cause } = error;
  const others = passedOver.map(({ strategy, reason }) => `"${strategy}" was passed over: ${reason}`).join("; ");
  return new IospanError(code, `${message}; before, ${others}`, { syscall, errno, device, iommu, hint, cause });
}

/** What is to be mapped is something else. */
export function notDmaMemory(): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "only DmaMemory can be mapped", {
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
    hint: "everything is released; error.cause.errors lists what failed",
    cause: new AggregateError(failures, what),
  });
}
