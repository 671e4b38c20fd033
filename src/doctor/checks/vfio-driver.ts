import type { BusType } from "../../machine/machine.js";
import { vfioDrivers } from "../../machine/vfio-drivers.js";
import type { VfioFacts } from "../../survey/survey.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, untold } from "../diagnoses.js";
import { isOnVfio, stateOf } from "../examined-device.js";

/** Whether there is a driver that hands devices of these buses to user space. */
export const vfioDriver: Check = {
  id: "IOSPAN-VFIO-DRIVER",
  title: "VFIO drivers present",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (kernel === undefined) return [noKernel];
    const { drivers } = kernel.vfio;
    if (drivers === undefined)
      return [untold("the drivers of /sys/bus cannot be listed", { fix: ["make /sys readable"] })];
    const missing = busesOf(patient).filter((bus) => !drivers.some((driver) => isFor(driver, bus)));
    if (missing.length > 0) return missing.map(absent);
    return [passed(drivers.map(({ name }) => name).join(", ") || "the devices are on VFIO drivers already")];
  },
};

/** A variant for one kind of device only, such as mlx5_vfio_pci, does not take others. */
function isFor({ bus, name }: NonNullable<VfioFacts["drivers"]>[number], wanted: BusType): boolean {
  return bus === wanted && name === vfioDrivers[wanted];
}

/** Of the devices that are still to be bound; PCI, where there are no devices. */
function busesOf({ survey, devices }: Patient): readonly BusType[] {
  if (devices.length === 0) return ["pci"];
  const unbound = devices.filter((device) => !isOnVfio(survey, device));
  return [...new Set(unbound.flatMap((device) => stateOf(survey, device)?.bus ?? []))];
}

function absent(bus: BusType): Diagnosis {
  const driver = vfioDrivers[bus];
  const module = driver.replaceAll("-", "_");
  return failed(`there is no driver ${driver}, which hands out ${bus === "pci" ? "PCI" : bus} devices`, {
    evidence: [`/sys/bus/${bus}/drivers/${driver} is not there`],
    fix: [
      `modprobe ${driver}`,
      `for good: echo ${driver} >> /etc/modules-load.d/vfio.conf`,
      ...(bus === "platform"
        ? ["if there is no such module: a kernel built with CONFIG_VFIO_PLATFORM (many distributions' are not)"]
        : [`if there is no such module: a kernel built with CONFIG_${module.toUpperCase()}`]),
    ],
  });
}
