import { errnoName } from "../abi/errno.js";
import { type ErrorCode, IospanError } from "../errors.js";
import { factsOf, type SyscallError } from "../syscalls/syscalls.js";
import { readPciIds } from "./devices.js";
import { formatHolders, groupHolders } from "./group-holders.js";
import { enableIommuHint } from "./iommus.js";
import type { DeviceState, Machine } from "./machine.js";
import { isDriverLoaded, loadDriverHint } from "./vfio-drivers.js";

/** A write to sysfs on the way from one driver to another. */
export interface BindingStep {
  /** What the write was for, completing "cannot …". */
  readonly doing: string;
  /** The driver that the write asks to take the device, where it does. */
  readonly probing?: string | undefined;
}

interface Explanation {
  readonly code: ErrorCode;
  readonly hint: string;
}

/** Says what the kernel's answer to a write of the binding means and what helps. */
export function bindingRefused(
  machine: Machine,
  device: DeviceState,
  step: BindingStep,
  error: SyscallError,
): IospanError {
  const answer = errnoName(error.errno);
  const { code, hint } = explainAccess(answer) ?? explainProbe(machine, device, step, answer) ?? seeKernelLog(device);
  return new IospanError(code, `cannot ${step.doing}: ${answer}`, {
    ...factsOf(error),
    device: device.name,
    iommu: device.iommu?.name,
    hint,
  });
}

/** The kernel answered success, and the device is not where it was sent. */
export function bindingIneffective(device: DeviceState, found: string, wanted: string): IospanError {
  const message = `the kernel accepted every write, but ${device.name} has ${found}, not ${wanted}`;
  return new IospanError("ERR_IOSPAN_BIND_REFUSED", message, { device: device.name, hint: seeKernelLog(device).hint });
}

function explainAccess(answer: string): Explanation | undefined {
  switch (answer) {
    case "EPERM":
    case "EACCES":
      return { code: "ERR_IOSPAN_NO_PERMISSION", hint: "changing drivers needs root: run it with sudo" };
    case "EROFS":
      return {
        code: "ERR_IOSPAN_NO_PERMISSION",
        hint: "sysfs is mounted read-only, as containers do: bind on the host",
      };
    default:
      return undefined;
  }
}

function explainProbe(
  machine: Machine,
  device: DeviceState,
  step: BindingStep,
  answer: string,
): Explanation | undefined {
  const { probing: driver } = step;
  if (driver === undefined) return undefined;
  if (!isDriverLoaded(machine, device.bus, driver)) return refused(loadDriverHint(machine, device.bus, driver));
  return driver.includes("vfio")
    ? explainVfioProbe(machine, device, driver, answer)
    : explainOrdinaryProbe(machine, device, answer);
}

function explainVfioProbe(
  machine: Machine,
  device: DeviceState,
  driver: string,
  answer: string,
): Explanation | undefined {
  switch (answer) {
    case "ENOENT":
      return device.bus === "platform" ? explainNoReset(device) : undefined;
    case "EINVAL":
      return explainInvalid(machine, device);
    case "EBUSY":
      return refused(
        `the device is in use; the virtual functions of a PCI physical function must go first: echo 0 > ${device.path}/sriov_numvfs`,
      );
    case "ENODEV":
      return refused(
        `${driver} does not take this device (Linux before 5.12 says so whatever the reason): ${dmesg(device)}`,
      );
    default:
      return undefined;
  }
}

/** vfio-platform wants to know how to reset the device before it gives it away. */
function explainNoReset({ name }: DeviceState): Explanation {
  return refused(
    `vfio-platform knows no way to reset ${name}; if it may be handed out without, boot with vfio_platform.reset_required=0 ` +
      "(as a module: modprobe -r vfio_platform; modprobe vfio_platform reset_required=0)",
  );
}

function explainInvalid(machine: Machine, device: DeviceState): Explanation {
  if (device.group === undefined) return { code: "ERR_IOSPAN_NO_IOMMU", hint: enableIommuHint };
  const pci = device.bus === "pci" ? readPciIds(machine, device) : undefined;
  if (pci !== undefined && pci.class >>> 8 === 0x0604)
    return refused("VFIO hands out endpoints, not bridges: name a device behind it");
  return refused(
    `VFIO takes devices of cache-coherent IOMMUs only; on a device-tree machine ${device.iommu?.name ?? "the IOMMU"}'s node ` +
      `must say dma-coherent: ${dmesg(device)}`,
  );
}

function explainOrdinaryProbe(machine: Machine, device: DeviceState, answer: string): Explanation | undefined {
  if (answer !== "EBUSY") return undefined;
  const holders = device.group === undefined ? [] : groupHolders(machine, device.group, [device]);
  const who = holders.length === 0 ? "" : ` by process ${formatHolders(holders)}`;
  return { code: "ERR_IOSPAN_GROUP_BUSY", hint: `VFIO has the group open${who}: close it, then bind` };
}

function refused(hint: string): Explanation {
  return { code: "ERR_IOSPAN_BIND_REFUSED", hint };
}

function seeKernelLog(device: DeviceState): Explanation {
  return refused(`the kernel's log says why: ${dmesg(device)}`);
}

function dmesg({ name }: DeviceState): string {
  return `dmesg | grep ${name}`;
}
