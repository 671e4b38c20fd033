import type { KernelFacts } from "../../survey/survey.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { noKernel, passed, untold, warned } from "../diagnoses.js";
import { factsOf, isOnVfio } from "../examined-device.js";

/** An iommufd pins memory once for all IOMMUs. Containers do without it. */
export const iommufd: Check = {
  id: "IOSPAN-IOMMUFD",
  title: "iommufd, which is optional",
  run: (patient) => {
    const { kernel } = patient.survey;
    return [kernel === undefined ? noKernel : look(patient, kernel)];
  },
};

const BUILD =
  "a kernel built with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV, Linux 6.6 or newer; or do without: containers do";

function look({ survey, devices }: Patient, { vfio }: KernelFacts): Diagnosis {
  const { nodes, modules } = vfio;
  if (nodes === undefined) {
    if (modules.iommufd === false)
      return passed("not there; containers do the same, and pin pages once for each IOMMU");
    return untold("/dev was not read", { fix: ["ls -l /dev/iommu /dev/vfio/devices"] });
  }
  if (!nodes.has("/dev/iommu")) {
    if (modules.iommufd !== true) return passed("not there; containers do the same, and pin pages once for each IOMMU");
    return warned("the module iommufd is there, and its node is not", {
      evidence: ["/dev/iommu is not there"],
      fix: [
        "in a container: have it passed in (--device /dev/iommu)",
        "else see that udev runs, or devtmpfs is mounted on /dev",
      ],
    });
  }
  const bound = devices.filter((device) => isOnVfio(survey, device));
  const without = bound.filter((device) => {
    const node = factsOf(survey, device)?.vfioDevice;
    return node === undefined || !nodes.has(`/dev/vfio/devices/${node}`);
  });
  if (without.length === 0)
    return passed(bound.length === 0 ? "/dev/iommu is there" : "/dev/iommu and a node for each device");
  return warned(
    `there is /dev/iommu, but no node for ${without.map(({ name }) => name).join(", ")}: the strategy iommufd cannot be used`,
    {
      evidence: ["/dev/vfio/devices lacks them"],
      fix: [BUILD],
    },
  );
}
