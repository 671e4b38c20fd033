import { accounting } from "./accounting.js";
import { attach } from "./attach.js";
import { auditing } from "./audit.js";
import { closing } from "./closing.js";
import { compatKernel } from "./compat-kernel.js";
import { device } from "./device.js";
import { deviceLife } from "./device-life.js";
import { dma } from "./dma.js";
import { faults } from "./faults.js";
import { iommufdKernel } from "./iommufd-kernel.js";
import { iommufdLibrary } from "./iommufd-library.js";
import { kernel } from "./kernel.js";
import { lifecycle } from "./lifecycle.js";
import { many } from "./many.js";
import { mapping } from "./mapping.js";
import { peerToPeer } from "./peer-to-peer.js";
import { randomly } from "./random.js";
import type { Scenario } from "./rig.js";

/** Every behaviour that a machine, real or simulated, has to show with every strategy; by subject. */
export const scenarios: Readonly<Record<string, readonly Scenario[]>> = {
  kernel,
  "compat kernel": compatKernel,
  "iommufd kernel": iommufdKernel,
  "iommufd library": iommufdLibrary,
  lifecycle,
  mapping,
  attach,
  many,
  accounting,
  audit: auditing,
  device,
  "device life": deviceLife,
  dma,
  "peer to peer": peerToPeer,
  closing,
  random: randomly,
  faults,
};
