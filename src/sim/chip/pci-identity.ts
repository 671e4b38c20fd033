import { deviceTreeError } from "../../devicetree/device-tree-error.js";
import type { TreeNode } from "../../devicetree/node.js";
import { IospanError } from "../../errors.js";
import type { PciIdentity } from "../hw/device-model.js";
import { checkPciIdentity } from "../hw/pci-identity.js";

const BRIDGE_CLASS = 0x060400;
/** Base system peripheral, other. */
const OTHER_CLASS = 0x088000;
const FIRST_BAR = 0x10;
const LAST_BAR = 0x24;
const IDS = /^pci([0-9a-f]{1,4}),([0-9a-f]{1,4})(?:\.([0-9a-f]{1,4})\.([0-9a-f]{1,4}))?(?:\.([0-9a-f]{1,2}))?$/i;
const CLASS = /^pciclass,([0-9a-f]{6}|[0-9a-f]{4})$/i;

/**
 * What a function's configuration space says, after its node: `compatible` ("pci1234,11e8", "pciclass,010802"), the
 * properties of the PCI bus binding (IEEE 1275) and the BARs in `reg`.
 * @param model what the simulated model of it has; what the node says goes before it
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` where neither says which vendor's which device it is
 */
export function pciIdentity(node: TreeNode, isBridge: boolean, model: PciIdentity | undefined): PciIdentity {
  const own = { ...fromCompatible(node), ...fromProperties(node) };
  const { vendor, device } = { ...model, ...own };
  if (vendor === undefined || device === undefined) {
    const hint = 'write compatible = "pciVVVV,DDDD", or vendor-id and device-id';
    throw deviceTreeError(node.path, "which vendor's which device it is, is not said", hint);
  }
  const identity: PciIdentity = {
    classCode: isBridge ? BRIDGE_CLASS : OTHER_CLASS,
    ...model,
    ...own,
    vendor,
    device,
    ...bars(node, model),
    ...(isBridge && { bridge: true }),
  };
  return checked(node, identity);
}

function fromCompatible(node: TreeNode): Partial<PciIdentity> {
  const ids = node.compatible.map((name) => IDS.exec(name)).find((match) => match !== null);
  const code = node.compatible.map((name) => CLASS.exec(name)?.[1]).find((digits) => digits !== undefined);
  const [, vendor, device, subsystemVendor, subsystem, revision] = ids ?? [];
  return defined({
    vendor: hexadecimal(vendor),
    device: hexadecimal(device),
    subsystemVendor: hexadecimal(subsystemVendor),
    subsystem: hexadecimal(subsystem),
    revision: hexadecimal(revision),
    classCode: hexadecimal(code?.padEnd(6, "0")),
  });
}

function fromProperties(node: TreeNode): Partial<PciIdentity> {
  const number = (name: string) => node.property(name)?.cell;
  return defined({
    vendor: number("vendor-id"),
    device: number("device-id"),
    classCode: number("class-code"),
    revision: number("revision-id"),
    subsystemVendor: number("subsystem-vendor-id"),
    subsystem: number("subsystem-id"),
    msiVectors: number("iospan,msi-vectors"),
    intx: node.has("interrupts") ? true : undefined,
  });
}

/** Rows of `reg` after the first name a BAR by its offset in the configuration space. */
function bars(node: TreeNode, model: PciIdentity | undefined): Pick<PciIdentity, "bars"> {
  const [, ...rows] = node.reg;
  if (rows.length === 0) return model?.bars === undefined ? {} : { bars: model.bars };
  if (model?.bars !== undefined) {
    node.required("reg").fail("has BARs, and the simulated model of this device brings its own", "leave them out");
  }
  return { bars: rows.map(({ address, size }) => ({ index: barIndex(node, address), size: Number(size) })) };
}

function barIndex(node: TreeNode, address: bigint): number {
  const register = Number((address >> 64n) & 0xffn);
  if (register >= FIRST_BAR && register <= LAST_BAR && register % 4 === 0) return (register - FIRST_BAR) / 4;
  return node.required("reg").fail(`has a row for register 0x${register.toString(16)}, which is no BAR`);
}

function checked(node: TreeNode, identity: PciIdentity): PciIdentity {
  try {
    checkPciIdentity(identity);
    return identity;
  } catch (error) {
    if (error instanceof IospanError) throw deviceTreeError(node.path, error.message, error.hint);
    throw error;
  }
}

function hexadecimal(digits: string | undefined): number | undefined {
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** Without the keys that have no value. */
function defined<T extends object>(values: { readonly [K in keyof T]: T[K] | undefined }): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
