import type { GroupAnswer, VfioFacts } from "../../survey/survey.js";
import type { Check, Diagnosis } from "../check.js";
import { failed, noKernel, passed, untold, warned } from "../diagnoses.js";
import { examinedGroups } from "../examined-group.js";

const CONTAINER = "/dev/vfio/vfio";

/** Containers need a backend that knows IOMMUs (drivers/vfio/vfio_iommu_type1.c), or an iommufd in its place. */
export const type1: Check = {
  id: "IOSPAN-TYPE1",
  title: "VFIO containers with an IOMMU backend",
  run: (patient) => {
    const { kernel } = patient.survey;
    if (kernel === undefined) return [noKernel];
    const answers = examinedGroups(patient).flatMap(({ facts }) => facts?.answer ?? []);
    const answered = answers.map(ofAnswer).find((diagnosis) => diagnosis !== undefined);
    return [answered ?? ofModules(kernel.vfio)];
  },
};

/** What a group's answer proves; undefined for nothing. */
function ofAnswer(answer: GroupAnswer): Diagnosis | undefined {
  switch (answer.asked) {
    case "answered":
      return passed("a container was opened and answered");
    case "not asked":
      return answer.isIommufd ? passed(answer.why) : undefined;
    case "refused":
      if (answer.code !== "ERR_IOSPAN_NO_VFIO") return undefined;
      return failed("no IOMMU backend takes the group", { evidence: [answer.message], fix: [answer.hint, ...LOAD] });
  }
}

const LOAD = ["modprobe vfio_iommu_type1", "for good: echo vfio_iommu_type1 >> /etc/modules-load.d/vfio.conf"];
const PASS_IN = `in a container: have it passed in (--device ${CONTAINER}); else see that udev runs, or devtmpfs is mounted on /dev`;

function ofModules({ modules, nodes }: VfioFacts): Diagnosis {
  const hasNode = nodes?.has(CONTAINER) ?? true;
  if (modules.vfio_iommu_type1 === undefined) {
    return untold("/sys/module cannot be listed", {
      fix: ["a copy of /sys needs /sys/module: iospan plan --save has it"],
    });
  }
  if (modules.vfio_iommu_type1) {
    if (hasNode) return passed("vfio_iommu_type1 is there, loaded or built in");
    return failed(`${CONTAINER}, by which containers are opened, is not there`, {
      evidence: [`nodes: ${[...(nodes?.keys() ?? [])].join(" ") || "none"}`],
      fix: [PASS_IN],
    });
  }
  return modules.iommufd === true ? perhapsIommufd(hasNode) : withoutBackend();
}

const MISSING = ["/sys/module/vfio_iommu_type1 is not there"];

function withoutBackend(): Diagnosis {
  return failed("vfio_iommu_type1 is not there: containers have no IOMMU backend, no supported IOMMU extensions", {
    evidence: MISSING,
    fix: LOAD,
  });
}

/** CONFIG_IOMMUFD_VFIO_CONTAINER offers the node without VFIO's own container, which looks the same from outside. */
function perhapsIommufd(hasNode: boolean): Diagnosis {
  const rest = hasNode
    ? `containers work only if ${CONTAINER} is the iommufd's (CONFIG_IOMMUFD_VFIO_CONTAINER, or a link to /dev/iommu)`
    : `without ${CONTAINER} only for programs that use iommufd themselves`;
  return warned(`vfio_iommu_type1 is not there, and iommufd is: ${rest}`, { evidence: MISSING, fix: LOAD });
}
