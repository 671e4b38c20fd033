import { IospanError } from "../errors.js";
import { hex } from "../iova.js";
import type { Device } from "../vfio/device.js";
import type { Cause } from "./dual-path-registers.js";

type About = Pick<Device, "name" | "iommu">;

/** What an engine reported: the `cause` of an `ERR_IOSPAN_DMA_FAULT`, or of an `ERR_IOSPAN_DEVICE_FAILED`. */
export interface DualPathFault {
  /** As ERROR_STATUS has it: `READ_FAULT`. */
  readonly reported: Cause | "UNKNOWN";
  /** The first IOVA that was not accessed; what ERROR_ADDRESS has for causes that are no faults. */
  readonly iova: bigint;
}

const DOINGS: Readonly<Partial<Record<Cause | "UNKNOWN", string>>> = {
  READ_FAULT: "could not read",
  WRITE_FAULT: "could not write",
  FETCH_FAULT: "could not read its descriptor ring at",
  WRITEBACK_FAULT: "could not write its descriptor ring at",
};

/**
 * The engine could not access memory; or it refuses what this driver never asks for, so that it is not what it should be.
 * @param about the interface it was on
 */
export function reportedBy(about: About, fault: DualPathFault): IospanError {
  const doing = DOINGS[fault.reported];
  if (doing === undefined) return deviceFailed(about, `reports ${fault.reported} for ${hex(fault.iova)}`, fault);
  const { name, iommu } = about;
  return new IospanError("ERR_IOSPAN_DMA_FAULT", `${name} ${doing} IOVA ${hex(fault.iova)}`, {
    device: name,
    iommu,
    hint: "map all of the memory for every interface that the job goes through; dmesg has the IOMMU's event, if it was asked",
    cause: fault,
  });
}

/** The engine does not do what it should. */
export function deviceFailed({ name, iommu }: About, what: string, cause?: unknown): IospanError {
  return new IospanError("ERR_IOSPAN_DEVICE_FAILED", `${name} ${what}`, {
    device: name,
    iommu,
    hint: "close the engine and open it anew; if that does not help, reset the device",
    cause,
  });
}

/** The device is something else than this driver drives. */
export function notAnEngine({ name, iommu }: About, what: string): IospanError {
  return new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `${name} ${what}`, {
    device: name,
    iommu,
    hint: "the driver knows version 1 of the dual-path engine: name its PCIe function and its platform port",
  });
}

/** The engine's driver was closed. */
export function closed({ name, iommu }: About): IospanError {
  return new IospanError("ERR_IOSPAN_CLOSED", `the engine of ${name} is closed`, {
    device: name,
    iommu,
    hint: "open a new one, and await jobs before closing",
  });
}

/** Something that was asked for cannot be. */
export function invalid(message: string, hint: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, { hint });
}
