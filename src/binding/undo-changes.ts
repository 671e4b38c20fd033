import { IospanError } from "../errors.js";
import { lookUpDeviceState } from "../machine/devices.js";
import { restoreDriver } from "../machine/driver-binding.js";
import type { DeviceState, Machine } from "../machine/machine.js";

/** Whether a device is where it was. */
export function isAt(machine: Machine, { name, driver, driverOverride }: DeviceState): boolean {
  const now = lookUpDeviceState(machine, name);
  return now !== undefined && now.driver === driver && now.driverOverride === driverOverride;
}

/**
 * Brings devices back to where they were, the last first, as far as that works.
 * @param before devices that were changed, as they were.
 * @returns the failure, with what became of them.
 */
export function undoChanges(machine: Machine, before: readonly DeviceState[], failure: unknown): unknown {
  const failed: unknown[] = [];
  for (const device of before.toReversed()) {
    try {
      if (!isAt(machine, device)) restoreDriver(machine, device.name, device);
    } catch (error) {
      failed.push(error);
    }
  }
  const names = before.map(({ name }) => name).join(" and ");
  if (failed.length > 0) {
    const reasons = failed.map((error) => (error instanceof Error ? error.message : String(error))).join("; ");
    return withOutcome(
      failure,
      `bringing ${names} back failed too: ${reasons}`,
      new AggregateError([failure, ...failed]),
    );
  }
  return names === ""
    ? failure
    : withOutcome(
        failure,
        `${names} ${before.length === 1 ? "is" : "are"} back where ${before.length === 1 ? "it was" : "they were"}`,
      );
}

function withOutcome(failure: unknown, outcome: string, cause?: AggregateError): unknown {
  if (!(failure instanceof IospanError)) return cause ?? failure;
  const { code, message, syscall, errno, device, iommu, hint } = failure;
  const facts = { syscall, errno, device, iommu, hint, cause: cause ?? failure.cause };
  return new IospanError(code, `${message}; ${outcome}`, facts);
}
