import type { Device } from "./device.js";
import { PerKernel } from "./per-kernel.js";

/** @internal The devices that this process has open here. */
export const openDevices: PerKernel<Set<Device>> = new PerKernel(() => new Set());
