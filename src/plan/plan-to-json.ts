import { hex } from "../iova.js";
import type { Plan } from "./plan.js";

/**
 * A plan as a value for JSON: addresses and bit masks are hexadecimal text, sizes numbers, `"unlimited"` stands for no limit, and
 * what nobody tells is null or `"unknown"`: a device's driver and group, which may be known to be none, say so.
 */
export function planToJson(plan: Plan): object {
  const devices = plan.devices.map((device) => {
    const { driver, group } = device;
    return { ...device, driver: told(driver), group: told(group) };
  });
  const companions = plan.companions.map((companion) => ({ ...companion, driver: told(companion.driver) }));
  return plain({ ...plan, devices, companions }) as object;
}

function told<T>(value: T | undefined): T | "unknown" {
  return value === undefined ? "unknown" : value;
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return hex(value);
  if (value === undefined) return null;
  if (value === Number.POSITIVE_INFINITY) return "unlimited";
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}
