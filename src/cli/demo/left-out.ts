import type { TreeNode } from "../../devicetree/node.js";
import type { DeviceTree } from "../../devicetree/tree.js";
import { findDevice } from "../../machine/devices.js";
import type { MachineDevice, PciIds } from "../../machine/machine.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import { FUNCTION_IDS, PORT_COMPATIBLE } from "./dual-path.js";
import { EDU_IDS } from "./edu-engine.js";
import type { LeftOutReport } from "./result.js";

const FUNCTIONS: readonly Pick<PciIds, "vendor" | "device">[] = [FUNCTION_IDS, EDU_IDS];
/** What nodes of devices are compatible with that do DMA in the simulation. */
const COMPATIBLES: readonly string[] = [
  ...FUNCTIONS.map(({ vendor, device }) => `pci${vendor.toString(16)},${device.toString(16)}`),
  PORT_COMPATIBLE,
  "iospan,edu",
];

/**
 * The chip's devices that could do DMA and are not in use, with the reason.
 * @param used the kernel's names of those that are.
 * @param tree where disabled devices are found, of which the kernel knows nothing.
 */
export function leftOut(
  machine: SimulatedMachine,
  used: readonly string[],
  tree: DeviceTree | undefined,
): readonly LeftOutReport[] {
  const others = machine.description.devices.filter(({ name }) => !used.includes(name));
  const unused = others.map(({ name }) => findDevice(machine, name)).filter(doesDma);
  const disabled = [...(tree?.nodes() ?? [])].filter((node) => !node.isEnabled && node.compatible.some(isKnown));
  return [
    ...unused.map((device) => ({ device: device.name, why: whyUnused(device) })),
    ...disabled.map((node) => ({ device: node.path, why: whyDisabled(node) })),
  ];
}

function whyUnused({ bus, iommu, group }: MachineDevice): string {
  if (iommu === undefined) return `no IOMMU: ${bus === "pci" ? "iommu-map does not cover it" : "it has no iommus"}`;
  return group === undefined ? "no IOMMU group" : "the demo has no driver for it";
}

function whyDisabled(node: TreeNode): string {
  return node.status === "okay" ? "disabled: a node above it is" : `status is "${node.status}"`;
}

function doesDma({ pci, compatible = [] }: MachineDevice): boolean {
  const isKnownFunction = FUNCTIONS.some(({ vendor, device }) => pci?.vendor === vendor && pci.device === device);
  return isKnownFunction || compatible.some(isKnown);
}

function isKnown(compatible: string): boolean {
  return COMPATIBLES.includes(compatible);
}
