import type { Device } from "../vfio/device.js";
import { invalid } from "./dual-path-errors.js";
import { REQUEST } from "./dual-path-registers.js";

/** The engine's interfaces. One may be missing. */
export interface DualPathInterfaces<T = Device> {
  /** The PCIe function. */
  readonly function?: T | undefined;
  /** The platform port. */
  readonly port?: T | undefined;
}

/** Through which interfaces a job goes. */
export type Via = "function" | "port" | "both";

/** How a job is done. */
export interface JobOptions {
  /** `both` where absent, or the one interface there is. */
  readonly via?: Via | undefined;
}

/** What became of a job. Times are nanoseconds on the engine's own clock. */
export interface JobReport {
  readonly bytes: number;
  readonly started: number;
  readonly finished: number;
  /** From the first chunk's begin until the last one was in memory. */
  readonly elapsed: number;
}

/** Who waits for a job. */
export interface Job {
  resolve(report: JobReport): void;
  reject(error: unknown): void;
}

/**
 * The descriptor's flags for the interfaces that a job goes through.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` when one that is asked for is missing.
 */
export function viaFlags({ via }: JobOptions, devices: DualPathInterfaces): number {
  const onFunction = devices.function === undefined ? undefined : REQUEST.FUNCTION;
  const onPort = devices.port === undefined ? undefined : REQUEST.PORT;
  if (via === undefined) return (onFunction ?? 0) | (onPort ?? 0);
  const wanted = { function: [onFunction], port: [onPort], both: [onFunction, onPort] }[via];
  const flags = wanted?.filter((flag) => flag !== undefined) ?? [];
  if (flags.length > 0 && flags.length === wanted.length) return flags.reduce((all, flag) => all | flag, 0);
  throw invalid(
    `a job cannot go via "${via}"`,
    'it is "function", "port" or "both", as far as the engine was opened with them',
  );
}
