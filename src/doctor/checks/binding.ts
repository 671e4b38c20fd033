import type { BusType, DeviceState } from "../../machine/machine.js";
import { bindCommands, hasVfioDriver, vfioDrivers } from "../../machine/vfio-drivers.js";
import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, untold } from "../diagnoses.js";
import { isBridge, stateOf } from "../examined-device.js";

/** Whether each device is on a driver that hands it out, and what its driver_override has to do with it if not. */
export const binding: Check = {
  id: "IOSPAN-BINDING",
  title: "devices bound to VFIO",
  run: (patient) => {
    const { survey, devices } = patient;
    if (survey.kernel === undefined) return devices.length === 0 ? [] : [noKernel];
    return devices.filter((device) => !isBridge(device)).map((device) => look(patient, device));
  },
};

type State = DeviceState & { readonly bus: BusType };

function look({ survey }: Patient, device: TopologyDevice): Diagnosis {
  const { name, driver } = device;
  const state = stateOf(survey, device);
  if (state === undefined) {
    const fix = [
      `bind it to the VFIO driver of the bus ${device.bus}, if there is one: ls /sys/bus/${device.bus}/drivers`,
    ];
    return untold(`iospan knows no VFIO driver for devices on ${device.bus}`, { fix, device: name });
  }
  if (driver === undefined)
    return untold(`nobody tells which driver ${name} has`, { fix: ["make /sys readable"], device: name });
  if (hasVfioDriver(state)) return passed(`${name} is on ${driver}`, { device: name });
  const meant = rightName(survey, state);
  return failed(textOf(state, meant), {
    evidence: [
      `${state.path}/driver ${driver === null ? "is not there" : `-> ${driver}`}`,
      `${state.path}/driver_override: ${state.driverOverride ?? "(null)"}`,
    ],
    fix: [`sudo iospan bind ${name}`, "or by hand:", ...bindCommands(state, meant).split("; ")],
    device: name,
  });
}

/** The driver that is wanted: the one of the override, under the name that the kernel has for it. */
function rightName({ kernel }: Patient["survey"], { bus, driverOverride = "" }: State): string {
  const own = (kernel?.vfio.drivers ?? []).filter((driver) => driver.bus === bus).map(({ name }) => name);
  const known = [...own, vfioDrivers[bus]];
  return known.find((name) => plain(name) === plain(driverOverride)) ?? vfioDrivers[bus];
}

const plain = (name: string) => name.replaceAll("_", "-");

function textOf({ name, driver, driverOverride }: State, meant: string): string {
  const now = driver === undefined ? `${name} has no driver` : `${name} is on ${driver}`;
  if (driverOverride === undefined) return driver === undefined ? `${now}, and no driver_override that says VFIO` : now;
  if (driverOverride !== meant && plain(driverOverride) === plain(meant)) {
    return `${now}: its driver_override says ${driverOverride}, and the driver's name is ${meant}`;
  }
  if (driverOverride !== meant) return `${now}: its driver_override keeps it for ${driverOverride}`;
  if (driver === undefined)
    return `${now}: its driver_override says ${meant}, but nobody asked that driver, or it refused`;
  return `${now}: its driver_override says ${meant}, which counts only once ${driver} has let go`;
}
