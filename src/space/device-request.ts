import { IospanError } from "../errors.js";
import { checkOptions } from "../options.js";
import { vfTokenBytes } from "../vfio/vf-token.js";

/**
 * A device that a space is to have: its kernel name, or that with a VF token. A virtual function whose physical function is on
 * vfio-pci, too, takes the token of that; so does the physical function while its virtual functions are in use, and otherwise
 * the token given replaces the one they have, and is theirs from then on (drivers/vfio/pci/vfio_pci_core.c,
 * vfio_pci_core_match_token_uuid). The kernel replaces it when it opens the physical function: it stays replaced where what comes
 * after fails, so also when the space is not opened, or the device not attached.
 */
export type DeviceRequest =
  | string
  | {
      /** As the kernel names it: `0000:02:10.0`. */
      readonly device: string;
      /** A UUID. */
      readonly vfToken?: string | undefined;
    };

/** A {@link DeviceRequest}, checked. */
export interface WantedDevice {
  readonly name: string;
  readonly vfToken: string | undefined;
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what names no device, and for a token that is no UUID. */
export function wantedDevice(request: DeviceRequest): WantedDevice {
  const isObject = typeof request === "object" && request !== null;
  const { device: name, vfToken } = isObject ? request : { device: request };
  if (isObject) checkOptions("the request of a device", request, { device: true, vfToken: true });
  if (typeof name !== "string") {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `a device is named by ${typeof name}, not by text`, {
      hint: 'name it "0000:02:00.0", or { device: "0000:02:10.0", vfToken: "…" }',
    });
  }
  if (vfToken !== undefined) vfTokenBytes(vfToken);
  return { name, vfToken };
}
