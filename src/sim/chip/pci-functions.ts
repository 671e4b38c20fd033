import type { TreeNode } from "../../devicetree/node.js";
import { type BusRange, busRange, type PciHost } from "./pci-hosts.js";

/** A function where enumeration found it. */
export interface PciFunction {
  readonly node: TreeNode;
  /** `0000:01:00.0` */
  readonly name: string;
  /** Bus, device and function, as they are on the wire. */
  readonly requesterId: number;
  readonly isBridge: boolean;
  /** Names of the bridges above, outermost first. */
  readonly behind: readonly string[];
}

/** A bus while its devices are looked for. */
interface Bus {
  readonly node: TreeNode;
  readonly range: BusRange;
  readonly behind: readonly string[];
}

/**
 * The functions behind a host, as Linux enumerates them: by device and function, what is behind a bridge right after it.
 * Bus numbers are those of a bridge's `bus-range`, or the next ones.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE`
 */
export function pciFunctions(host: PciHost): readonly PciFunction[] {
  return new Enumeration(host).functions;
}

class Enumeration {
  readonly #domain: string;
  readonly #found: PciFunction[] = [];
  #lastBus: number;

  constructor({ node, domain, buses }: PciHost) {
    this.#domain = domain.toString(16).padStart(4, "0");
    this.#lastBus = buses.first;
    this.#scan({ node, range: buses, behind: [] });
  }

  get functions(): readonly PciFunction[] {
    return this.#found;
  }

  #scan(bus: Bus): void {
    const present = bus.node.children.filter((node) => node.isEnabled && !isController(node));
    const slots = present.map((node) => ({ node, slot: slotOf(node, bus) })).sort((a, b) => a.slot - b.slot);
    for (const [index, { node, slot }] of slots.entries()) {
      const other = slots[index - 1];
      if (other?.slot === slot) node.required("reg").fail(`is that of ${other.node.path}, too`);
      this.#add(node, slot, bus);
    }
  }

  #add(node: TreeNode, slot: number, { range, behind }: Bus): void {
    const isBridge = node.property("device_type")?.text === "pci";
    const hex = (value: number) => value.toString(16).padStart(2, "0");
    const name = `${this.#domain}:${hex(range.first)}:${hex(slot >> 3)}.${slot & 7}`;
    this.#found.push({ node, name, requesterId: (range.first << 8) | slot, isBridge, behind });
    if (isBridge) this.#scanBehind(node, range, [...behind, name]);
  }

  /** pci_scan_bridge_extend: on the buses that firmware chose, or on the next one and as many more as are found. */
  #scanBehind(node: TreeNode, above: BusRange, behind: readonly string[]): void {
    const given = busRange(node);
    const range = given ?? { first: this.#lastBus + 1, last: above.last };
    const fits = range.first > this.#lastBus && range.first <= range.last && range.last <= above.last;
    if (!fits) this.#failBuses(node, range, above);
    this.#lastBus = range.first;
    this.#scan({ node, range, behind });
    if (given !== undefined) this.#lastBus = given.last;
  }

  #failBuses(node: TreeNode, { first, last }: BusRange, above: BusRange): never {
    const free = this.#lastBus < above.last ? `${this.#lastBus + 1} to ${above.last} are` : "none is";
    const wanted = first > last ? "a bus number" : `buses ${first} to ${last}`;
    const property = node.property("bus-range") ?? node.required("device_type");
    return property.fail(`needs ${wanted}, and ${free} left`, "correct the bus-range of this bridge or of its host");
  }
}

/** An interrupt controller for the legacy interrupts sits among the functions and is none. */
function isController(node: TreeNode): boolean {
  return node.has("interrupt-controller") && !node.has("reg");
}

/** Device and function. */
function slotOf(node: TreeNode, { range, node: above }: Bus): number {
  const reg = node.required("reg");
  if (above.addressCells !== 3) above.required("#address-cells").fail("should be 3, as on every PCI bus");
  const [configuration] = node.reg;
  if (configuration === undefined) return reg.fail("is empty");
  const address = Number(configuration.address >> 64n);
  const bus = (address >>> 16) & 0xff;
  if (address >>> 24 !== 0) reg.fail("does not begin with an address in configuration space");
  // Without numbers from firmware the bus is 0 in every node.
  if (bus !== range.first && bus !== 0) {
    reg.fail(`says bus ${bus}, and the devices of ${above.path} are on bus ${range.first} (its bus-range)`);
  }
  return (address >>> 8) & 0xff;
}
