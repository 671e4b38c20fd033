import { hex } from "../../iova.js";
import type { Topology, TopologyDevice } from "../topology.js";

/** What a device's null or absence would hide in JSON. */
const MAY_BE_UNKNOWN = ["driver", "group", "pci", "requesterId", "domain", "host"] as const;

/**
 * A topology as a value for JSON: addresses are hexadecimal text, null is known to be none, and what no source tells is
 * listed in each device's `unknown`. {@link Topology.others} are left out.
 */
export function topologyToJson(topology: Topology): object {
  const { memory, devices, others: _, ...rest } = topology;
  return plain({ ...rest, devices: devices.map(deviceOf), memory: memory ?? "unknown" }) as object;
}

function deviceOf(device: TopologyDevice): object {
  const concerned = MAY_BE_UNKNOWN.filter((key) => device.bus === "pci" || key === "driver" || key === "group");
  return { ...device, unknown: concerned.filter((key) => device[key] === undefined) };
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return hex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}
