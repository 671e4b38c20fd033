import { errno } from "../abi/errno.js";
import {
  deviceFeature,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_INDEX,
  VFIO_DEVICE_FEATURE_OPERATION,
} from "../abi/vfio-feature.js";
import { IospanError } from "../errors.js";
import type { BusType } from "../machine/machine.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { type About, type Meaning, refusal } from "./refusal.js";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * The 16 bytes of a VF token, in the order in which they are written.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what is no UUID.
 */
export function vfTokenBytes(uuid: string): Uint8Array {
  if (typeof uuid !== "string" || !UUID.test(uuid)) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${JSON.stringify(uuid)} is no VF token`, {
      hint: "take a UUID, such as crypto.randomUUID() gives: bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3",
    });
  }
  const digits = uuid.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, at) => Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}

/**
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a device that is not PCI's, so has no SR-IOV: the kernel finds no device of
 * that name then (drivers/vfio/group.c, vfio_device_get_from_name).
 */
export function checkTakesToken({ name, bus }: { readonly name: string; readonly bus: BusType }): void {
  if (bus === "pci") return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${name} takes no VF token: it is a ${bus} device`, {
    device: name,
    hint: `name it without: "${name}"; tokens are for functions of PCI's SR-IOV`,
  });
}

/**
 * Sets the token of an open physical function (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_feature_token).
 * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` for a device that is none.
 */
export function setVfToken(syscalls: Syscalls, fd: Fd, uuid: string, about: About): void {
  const flags = VFIO_DEVICE_FEATURE_OPERATION.SET | VFIO_DEVICE_FEATURE_INDEX.PCI_VF_TOKEN;
  const bytes = deviceFeature.encode({ flags }, vfTokenBytes(uuid));
  const message = `${about.device} takes no VF token`;
  try {
    syscalls.ioctl(fd, VFIO_DEVICE_FEATURE, bytes);
  } catch (error) {
    const hint = "only a PCI physical function with SR-IOV on vfio-pci has one (Linux 5.7 and newer)";
    throw refusal(
      error,
      about,
      { code: "ERR_IOSPAN_VF_TOKEN", message, hint: "the kernel log says more: dmesg | grep vfio" },
      { [errno.ENOTTY]: { code: "ERR_IOSPAN_NOT_SUPPORTED", message, hint } },
    );
  }
}

type Meanings = Readonly<Record<number, Meaning>>;

/** What an errno means that may be about the token that was given as well as about something else: both. */
export function either(number: number, token: Meanings, other: Meanings): Meanings {
  const [first, second] = [token[number], other[number]];
  if (first === undefined || second === undefined) return {};
  const message = `${first.message}; or else ${second.message}`;
  return { [number]: { ...first, message, hint: `${first.hint}; else: ${second.hint}` } };
}

/**
 * What the kernel's answers to opening a device mean where SR-IOV's tokens are involved (drivers/vfio/pci/vfio_pci_core.c,
 * vfio_pci_core_match_token_uuid).
 */
export function vfTokenMeanings(device: string, vfToken: string | undefined): Meanings {
  const code = "ERR_IOSPAN_VF_TOKEN";
  if (vfToken === undefined) {
    const message = `${device} cannot be opened without its VF token: it is a virtual function of a physical function on vfio-pci, or has such in use`;
    const hint =
      `name it with the token: { device: "${device}", vfToken: "…" }; for a virtual function, ` +
      "open the physical function first, with the same token";
    return { [errno.EACCES]: { code, message, hint } };
  }
  return {
    [errno.EACCES]: {
      code,
      message: `the VF token given for ${device} is not the one that holds for the physical function and its virtual functions`,
      hint:
        "for a virtual function, open the physical function first, with the same token, or take the one that setVfToken() gave " +
        "it; for a physical function whose virtual functions are in use, take the one that those were opened with",
    },
    [errno.EINVAL]: {
      code,
      message: `${device} takes no VF token: it is no function of SR-IOV, or its physical function is not on vfio-pci`,
      hint: `name it without: "${device}"`,
    },
  };
}
