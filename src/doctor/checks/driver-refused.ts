import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, noLog, passed } from "../diagnoses.js";
import { isBridge, isOnVfio } from "../examined-device.js";
import { lastLines, literally } from "../log-lines.js";

interface Refusal {
  readonly pattern: RegExp;
  readonly text: (device: string) => string;
  readonly fix: (device: string) => string;
}

/** What drivers of VFIO's say when they do not take a device (vfio_pci.c, vfio_pci_core.c, vfio_platform_common.c). */
const REFUSALS: readonly Refusal[] = [
  {
    pattern: /exists in vfio-pci device denylist/,
    text: (device) => `vfio-pci refuses ${device}: it is known to be unsafe in other hands`,
    fix: () => "if the risk is known and taken: modprobe -r vfio-pci; modprobe vfio-pci disable_denylist=1",
  },
  {
    pattern: /Cannot bind to PF with SR-IOV enabled/,
    text: (device) => `vfio-pci refuses ${device}: its virtual functions are there`,
    fix: (device) => `echo 0 > /sys/bus/pci/devices/${device}/sriov_numvfs, bind it, and make them again`,
  },
  {
    pattern: /Cannot retrieve compat for/,
    text: (device) => `vfio-platform refuses ${device}: its node has no compatible`,
    fix: () => "give the device's node a compatible",
  },
];

/** What VFIO's drivers said of devices that are not theirs. */
export const driverRefused: Check = {
  id: "IOSPAN-DRIVER-REFUSED",
  title: "no refusal by a VFIO driver",
  run: ({ survey, devices }) => {
    if (survey.kernel === undefined) return devices.length === 0 ? [] : [noKernel];
    const unbound = devices.filter((device) => !isOnVfio(survey, device));
    if (unbound.length === 0) return [];
    const found = unbound.flatMap((device) => look(survey, device));
    if (found.length > 0) return found;
    return [survey.kernel.log === undefined ? noLog : passed("nothing in the kernel's log")];
  },
};

function look({ kernel }: Patient["survey"], device: TopologyDevice): readonly Diagnosis[] {
  const { name } = device;
  if (isBridge(device)) {
    const fix = ["name a device behind it; on pcieport it does not keep others from VFIO"];
    return [failed(`${name} is a bridge, and VFIO hands out what is behind bridges`, { fix, device: name })];
  }
  return REFUSALS.flatMap(({ pattern, text, fix }) => {
    const lines = lastLines(kernel?.log, new RegExp(`${literally(name)}.*${pattern.source}`));
    return lines.length === 0 ? [] : [failed(text(name), { evidence: lines, fix: [fix(name)], device: name })];
  });
}
