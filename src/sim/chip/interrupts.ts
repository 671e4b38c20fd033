import type { MappedId } from "../../devicetree/id-map.js";
import type { TreeNode } from "../../devicetree/node.js";
import type { Property } from "../../devicetree/property.js";

/** Interrupt controllers whose messages carry the sender's identity, so that no device can send another's. */
const ISOLATING: readonly string[] = ["arm,gic-v3-its", "arm,gic-v5-its"];
/** Which cell of an interrupt says how it is triggered: after the kind and number, or after the number. */
const FLAGS_CELL: Readonly<Record<number, number>> = { 2: 1, 3: 2, 4: 2 };
/** IRQ_TYPE_EDGE_RISING and IRQ_TYPE_EDGE_FALLING; the others are levels. */
const EDGE_FLAGS = 0x3;

/** How each of a platform device's interrupts is triggered. */
export function interruptTriggers(node: TreeNode): readonly ("level" | "edge")[] {
  const extended = node.property("interrupts-extended");
  if (extended !== undefined) {
    return extended.references("#interrupt-cells").map(({ args }) => trigger(args));
  }
  const interrupts = node.property("interrupts");
  if (interrupts === undefined) return [];
  const width = controllerOf(node, interrupts).required("#interrupt-cells").cell;
  const { cells } = interrupts;
  if (width === 0 || cells.length % width !== 0) {
    interrupts.fail(`has ${cells.length} cells, which are no whole interrupts of ${width}`);
  }
  return Array.from({ length: cells.length / width }, (_, index) =>
    trigger(cells.slice(index * width, (index + 1) * width)),
  );
}

/** `interrupt-parent` of the node or of one above; a controller above is one, too. */
function controllerOf(node: TreeNode, interrupts: Property): TreeNode {
  for (const each of node.ancestry()) {
    const parent = each.property("interrupt-parent");
    if (parent !== undefined) return parent.target;
    if (each !== node && each.has("interrupt-controller")) return each;
  }
  return interrupts.fail("are of no controller", "add interrupt-parent to the node or to one above");
}

function trigger(cells: readonly number[]): "level" | "edge" {
  const flags = cells[FLAGS_CELL[cells.length] ?? cells.length] ?? 0;
  return (flags & EDGE_FLAGS) !== 0 ? "edge" : "level";
}

/** Whether messages of a platform device, or of all devices of a PCI host, go to a controller that knows whose they are. */
export function hasIsolatedMessages(node: TreeNode): boolean {
  const parent = node.property("msi-parent");
  const controller = parent && node.tree.byPhandle(parent.cells[0] ?? 0);
  if (parent !== undefined && controller === undefined) parent.fail("refers to a phandle that no node has");
  return isIsolating(controller);
}

/** Whether a PCI function's messages do, which the host's `msi-map` leads somewhere. */
export function isIsolatedMessage(mapped: MappedId | undefined): boolean {
  return isIsolating(mapped?.target);
}

function isIsolating(controller: TreeNode | undefined): boolean {
  return controller?.isEnabled === true && ISOLATING.some((name) => controller.isCompatible(name));
}
