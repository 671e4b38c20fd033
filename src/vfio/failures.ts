import { IospanError } from "../errors.js";

/** Takes every step, even if one before it failed. @returns what went wrong. */
export function failuresOf(...steps: readonly (() => unknown)[]): readonly unknown[] {
  return steps.flatMap((step) => {
    try {
      step();
      return [];
    } catch (error) {
      return [error];
    }
  });
}

/**
 * An error, with what went wrong after it when what had been opened was closed: `cause` lists that behind its own cause.
 * It stays the error to report. One that is no {@link IospanError} is given back as it is.
 */
export function withFailures(error: unknown, failures: readonly unknown[]): unknown {
  if (failures.length === 0 || !(error instanceof IospanError)) return error;
  const { code, message, syscall, errno, device, iommu, hint, cause: own } = error;
  const cause = new AggregateError([...(own === undefined ? [] : [own]), ...failures], "and closing failed, too");
  return new IospanError(code, message, { syscall, errno, device, iommu, hint, cause });
}
