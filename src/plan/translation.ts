import { isBefore } from "../machine/kernel-release.js";
import type { KernelFacts } from "../survey/survey.js";
import { type Judgement, no, unknown, yes } from "./judgement.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/** Whether an IOMMU translates the device's DMA. */
export function judgeTranslation(subject: Subject, index: SurveyIndex): Judgement {
  const { device, facts, iommus } = subject;
  if (facts?.noiommu === true) {
    return no(`${device.name} has no IOMMU: VFIO would hand it out without translation (no-IOMMU mode)`);
  }
  if (typeof device.group === "number") return behind(subject);
  const isLive = device.paths.sysfs !== undefined && index.kernel !== undefined;
  if (isLive && device.group === null) return withoutGroup(subject, index.kernel);
  if (subject.links.length === 0) return no(`${device.name} is behind no IOMMU`);
  return iommus.length === 0 ? unused(subject, index) : behind(subject);
}

function behind(subject: Subject): Judgement {
  const { device, iommus, links, isForFunctions } = subject;
  const names = iommus.map(({ name }) => name);
  const used = links.some((link) => link.used === true) || typeof device.group === "number";
  if (!used) {
    return unknown(`firmware lists ${names.join(", ")} for ${device.name}, and which of them Linux uses is not known`);
  }
  if (names.length > 1 && isForFunctions) {
    return yes(`the functions behind ${device.name} are behind ${names.join(", ")}, by their IDs`);
  }
  return yes(`${device.name} is behind ${names.join(", ") || `the IOMMU of group ${device.group}`}`);
}

/**
 * Before Linux 6.15 a device joins its IOMMU's group when its first driver probes it (drivers/of/device.c, of_dma_configure_id):
 * until then firmware is believed, as it is where no kernel was looked at.
 */
function withoutGroup(subject: Subject, kernel: KernelFacts | undefined): Judgement {
  const { device, iommus } = subject;
  const plain = `${device.name} is in no IOMMU group`;
  if (device.driver !== null || isBefore(kernel?.release, 6, 15) === false) return no(plain);
  if (iommus.length === 0) return unknown(`${plain} while it has no driver; binding it to VFIO tells`);
  const { verdict, reason } = behind(subject);
  return { verdict, reason: `${reason}, says firmware; it joins a group when a driver probes it` };
}

/** Firmware names IOMMUs, and Linux uses none of them. */
function unused({ device, links }: Subject, index: SurveyIndex): Judgement {
  const listed = links.flatMap(({ iommu }) => index.iommu(iommu) ?? []);
  const off = listed.find(({ enabled }) => !enabled);
  if (off !== undefined) {
    return no(`${off.name}, which ${device.name} is behind, is off: ${off.disabledBecause ?? "disabled"}`);
  }
  if (links.every(({ ids, via }) => via === "iommu-map" && ids.every(({ count }) => count === 0))) {
    return no(`the ID map of ${device.name} maps nothing`);
  }
  return no(
    `Linux uses none of the IOMMUs that firmware lists for ${device.name}: ${listed.map((e) => e.name).join(", ")}`,
  );
}
