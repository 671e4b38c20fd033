/**
 * What Linux says of DMA that an SMMU refuses: one line of JSON, an entry of test/conformance/recorded-events.json, which
 * the simulated machine is held to.
 */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { bindToVfio, linux } from "iospan";
import { type RefusalLog, refusedDma } from "../../test/conformance/refused-dma.js";

/** An edu behind each of the SMMUs. */
const DEVICES = ["0000:02:00.0", "0000:22:00.0"];
/** The kernel says ten events in so many milliseconds and is silent of more (include/linux/ratelimit_types.h). */
const RATE_LIMIT_MS = 5100;

/** The kernel reads events in a thread; that takes it so long at most. */
const THREAD_MS = 50;

/** What the SMMUs' driver said, without the times. */
async function driverLog(): Promise<readonly string[]> {
  await sleep(THREAD_MS);
  const lines = execFileSync("dmesg", { encoding: "utf8" }).split("\n");
  return lines.map((line) => line.replace(/^\[ *[0-9.]+\] /, "")).filter((line) => line.startsWith("arm-smmu-v3 "));
}

const machine = linux();
const devices: Record<string, RefusalLog> = {};
for (const name of DEVICES) {
  using _binding = bindToVfio(machine, name);
  devices[name] = await refusedDma(machine, name, driverLog);
  await sleep(RATE_LIMIT_MS);
}
const kernel = machine.syscalls.readFile("/proc/sys/kernel/osrelease").trim();
console.log(JSON.stringify({ kernel, machine: process.env.IOSPAN_LAB_MACHINE, devices }));
