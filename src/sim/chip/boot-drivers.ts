import type { DeviceDescription } from "../linux/description.js";

const NVME_CLASS = 0x010802;

/** The driver that a stock kernel binds at boot; undefined where it has none for the device. */
export function ordinaryDriverOf(description: DeviceDescription): string | undefined {
  if (description.bus === "platform") return undefined;
  if (description.model.pci?.bridge === true) return "pcieport";
  return description.model.pci?.classCode === NVME_CLASS ? "nvme" : undefined;
}
