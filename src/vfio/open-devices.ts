import type { Device } from "./device.js";
import { failuresOf } from "./failures.js";
import { PerKernel } from "./per-kernel.js";

/** @internal The devices that this process has open here. */
export const openDevices: PerKernel<Set<Device>> = new PerKernel(() => new Set());

/**
 * Runs `operation` while none of the devices masters the bus; those that did may again afterwards, however it ended.
 * @throws what `operation` throws; else the first thing that went wrong on the way back.
 */
export async function withoutDma(devices: readonly Device[], operation: () => Promise<void>): Promise<void> {
  const mastering = devices.filter(({ pciConfig }) => pciConfig?.busMaster === true);
  let failures: readonly unknown[] = [];
  try {
    for (const { pciConfig } of mastering) pciConfig?.setBusMaster(false);
    await operation();
  } finally {
    // One that is being closed meanwhile stays as its closing left it.
    const back = mastering.filter(({ closed, silenced }) => !closed && !silenced);
    failures = failuresOf(
      ...back.map(
        ({ pciConfig }) =>
          () =>
            pciConfig?.setBusMaster(true),
      ),
    );
  }
  if (failures.length > 0) throw failures[0];
}
