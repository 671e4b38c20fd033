import { attach } from "./attach.js";
import { auditing } from "./audit.js";
import { closing } from "./closing.js";
import { device } from "./device.js";
import { dma } from "./dma.js";
import { faults } from "./faults.js";
import { kernel } from "./kernel.js";
import { lifecycle } from "./lifecycle.js";
import { mapping } from "./mapping.js";
import { randomly } from "./random.js";
import type { Scenario } from "./rig.js";

/** Every behaviour that a machine, real or simulated, has to show with every strategy; by subject. */
export const scenarios: Readonly<Record<string, readonly Scenario[]>> = {
  kernel,
  lifecycle,
  mapping,
  attach,
  audit: auditing,
  device,
  dma,
  closing,
  random: randomly,
  faults,
};
