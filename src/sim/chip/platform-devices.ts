import type { TreeNode } from "../../devicetree/node.js";
import { inert } from "../hw/device-model.js";
import { simulatedDevice } from "../hw/simulated-device.js";
import type { PlatformDescription } from "../linux/description.js";
import type { AddressMap } from "./address-map.js";
import type { ChipDevice } from "./chip.js";
import type { DeviceModels } from "./device-models.js";
import { hasIsolatedMessages, interruptTriggers } from "./interrupts.js";
import { physicalRanges } from "./physical-range.js";
import { platformName, platformNodes } from "./platform-names.js";
import { linkOf } from "./rates.js";
import { reservedRegions } from "./reserved-regions.js";
import type { Streams } from "./streams.js";

/** What platform devices need of the rest of the chip. */
export interface PlatformSurroundings {
  readonly streams: Streams;
  readonly models: DeviceModels;
  readonly addresses: AddressMap;
}

/**
 * The devices on the chip's own buses: those that are behind an IOMMU, and those whose registers somebody simulates. Clocks,
 * timers and what else Linux makes platform devices of is left out.
 */
export function platformDevices(root: TreeNode, surroundings: PlatformSurroundings): readonly ChipDevice[] {
  const nodes = [...platformNodes(root)].filter((node) => node.property("device_type")?.text !== "pci");
  return nodes.flatMap((node) => platformDevice(node, surroundings) ?? []);
}

function platformDevice(node: TreeNode, { streams, models, addresses }: PlatformSurroundings): ChipDevice | undefined {
  const model = models.modelOf(node);
  if (model === undefined && !node.has("iommus")) return undefined;
  const stream = streams.ofNode(node);
  const resources = physicalRanges(node);
  addresses.claim(node, "registers", resources);
  const link = linkOf(node);
  const description: PlatformDescription = {
    bus: "platform",
    name: platformName(node),
    compatible: node.compatible,
    resources,
    interrupts: interruptTriggers(node),
    msiIsolated: hasIsolatedMessages(node),
    reserved: reservedRegions(node),
    resetHandler: node.has("iospan,vfio-reset"),
    model: typeof model === "function" ? simulatedDevice(model) : (model ?? inert()),
    ...(stream && { iommu: stream.smmu.description.name, streamId: stream.streamId }),
    ...(link && { link }),
  };
  return { node, description };
}
