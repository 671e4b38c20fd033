import type { Check, Diagnosis } from "../check.js";
import { noKernel, passed, warned } from "../diagnoses.js";
import { factsOf, isBridge } from "../examined-device.js";

/** vfio-pci resets a device between users, where the kernel can (drivers/pci/pci.c, pci_reset_fn_methods). */
export const noReset: Check = {
  id: "IOSPAN-NO-RESET",
  title: "reset of PCI devices",
  run: ({ survey, devices }) => {
    const functions = devices.filter((device) => device.bus === "pci" && !device.isBus && !isBridge(device));
    if (functions.length === 0) return [];
    if (survey.kernel === undefined) return [noKernel];
    // Kernels before 5.15 do not tell how, which is no reason for concern.
    return functions.flatMap((device) => {
      const methods = factsOf(survey, device)?.resetMethods;
      return methods === undefined ? [] : [look(device.name, methods)];
    });
  },
};

function look(device: string, methods: string): Diagnosis {
  if (methods !== "") return passed(`${device}: ${methods}`, { device });
  return warned(`the kernel has no way to reset ${device}: it goes from one program to the next as it is`, {
    evidence: [`/sys/bus/pci/devices/${device}/reset_method is not there`],
    fix: ["have the driver stop all DMA before it closes the device, and set up everything when it opens it"],
    device,
  });
}
