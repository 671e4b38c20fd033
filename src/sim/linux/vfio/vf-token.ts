import type { KernelLog } from "../kernel-log.js";
import { refuse } from "../refusal.js";

/** What users of a physical function and of its virtual functions have in common (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_vf_token). */
export class VfToken {
  /** Undefined: a random one, which nobody knows. */
  uuid: string | undefined;
  /** Virtual functions that are open. */
  users = 0;
}

/** A function as far as SR-IOV goes. */
export interface SriovFunction {
  readonly name: string;
  readonly isVirtual: boolean;
  /** Of a physical function its own. Of a virtual one that of its physical function, where that was on vfio-pci first. */
  readonly token: VfToken | undefined;
}

/** vfio_pci_core_match_token_uuid: whether a device may be opened by who names a token, or none. */
export function matchToken({ name, isVirtual, token }: SriovFunction, uuid: string | undefined, log: KernelLog): void {
  const say = (message: string) => log.device("vfio-pci", name, message);
  if (token === undefined) {
    if (uuid === undefined) return;
    say(`VF token incorrectly provided, ${isVirtual ? "PF not bound to vfio-pci" : "not a PF or VF"}`);
    refuse("EINVAL");
  }
  if (!isVirtual && token.users === 0) {
    token.uuid = uuid ?? token.uuid;
    return;
  }
  if (uuid === undefined) {
    say("VF token required to access device");
    refuse("EACCES");
  }
  if (uuid === token.uuid) return;
  say("Incorrect VF token provided for device");
  refuse("EACCES");
}

const ARGUMENT = "vf_token=";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * What a program calls a PCI device in VFIO_GROUP_GET_DEVICE_FD, with what is behind the name (vfio_pci_core_match).
 * @returns undefined when another device is meant
 */
export function parsePciName(device: string, text: string): { readonly uuid: string | undefined } | undefined {
  if (!text.startsWith(device)) return undefined;
  const rest = text.slice(device.length);
  if (rest !== "" && !rest.startsWith(" ")) return undefined;
  const [option, ...others] = rest.split(" ").filter((word) => word !== "");
  if (option === undefined) return { uuid: undefined };
  const uuid = option.slice(ARGUMENT.length).toLowerCase();
  if (others.length > 0 || !option.startsWith(ARGUMENT) || !UUID.test(uuid)) refuse("EINVAL");
  return { uuid };
}

/** A UUID of 16 bytes as it is written. */
export function uuidText(bytes: Uint8Array): string {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [0, 8, 12, 16, 20].map((at, index, all) => digits.slice(at, all[index + 1] ?? 32)).join("-");
}
