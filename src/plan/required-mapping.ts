import { hex } from "../iova.js";
import { isBefore } from "../machine/kernel-release.js";
import type { TopologyIommu } from "../topology/topology.js";
import { type Judgement, no, unknown, yes } from "./judgement.js";
import { requiredMapping } from "./reserved.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/**
 * What Linux answers to handing out a device of which firmware demands that memory stays mapped one to one: EINVAL since 6.6
 * for every IOMMU (iommu.c, __iommu_device_set_domain); Intel's driver refused it before, with EPERM. Undefined where a release
 * may not refuse it.
 */
export function requiredMappingErrno(
  iommus: readonly TopologyIommu[],
  release: string | undefined,
): "EINVAL" | "EPERM" | undefined {
  if (isBefore(release, 6, 6) !== true) return "EINVAL";
  return iommus.length > 0 && iommus.every(({ kind }) => kind === "intel") ? "EPERM" : undefined;
}

/** Whether firmware lets go of the device. */
export function judgeRequiredMapping(subject: Subject, index: SurveyIndex): Judgement {
  const region = requiredMapping(subject, index);
  const { name } = subject.device;
  if (region === undefined) return yes(`nothing of ${name} has to stay mapped`);
  const demand = `firmware demands that ${hex(region.start)}-${hex(region.end)} stays mapped one to one for ${name}`;
  const errno = requiredMappingErrno(subject.iommus, index.kernel?.release);
  if (errno === undefined) return unknown(`${demand}; this Linux may not insist on it`);
  return no(`${demand}: the kernel refuses it to VFIO (${errno})`);
}
