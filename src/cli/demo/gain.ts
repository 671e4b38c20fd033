import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import type { GainReport, ThroughputReport } from "./result.js";

/** A copy moves each byte through memory twice. */
const COPY = 2;
/** What the chip's own latencies, walks and descriptors may take of what its links could. */
const OVERHEAD = 0.05;

/**
 * How much faster all paths of an engine should copy than the fastest alone: as much as their links have together, unless
 * memory has less. Null where the chip does not say how fast its links are.
 * @param interfaces the kernel's names of the engine's interfaces.
 */
export function expectedGain({ description }: SimulatedMachine, interfaces: readonly string[]): GainReport | null {
  const links = interfaces.map((name) => description.devices.find((device) => device.name === name)?.link?.bandwidth);
  const known = links.filter((bandwidth) => bandwidth !== undefined);
  if (known.length < 2 || known.length < links.length) return null;
  const memory = description.interconnect?.memoryBandwidth ?? null;
  const through = (bandwidth: number) => (memory === null ? bandwidth : Math.min(bandwidth, memory / COPY));
  const one = through(Math.max(...known));
  const all = through(known.reduce((sum, bandwidth) => sum + bandwidth, 0));
  return {
    ratio: all / one,
    memoryBandwidth: memory,
    limit: memory !== null && all === memory / COPY ? "memory" : "paths",
  };
}

/** Whether a throughput is what the chip's links and memory allow, but for what a copy costs besides its bytes. */
export function isAsFastAs({ ratio }: ThroughputReport, expected: GainReport): boolean {
  return ratio >= expected.ratio * (1 - OVERHEAD);
}
