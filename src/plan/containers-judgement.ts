import { attachesNowhere } from "../space/strategies/attach-regression.js";
import { isIsolated, judgeIsolation } from "./isolation.js";
import { allOf, type Judgement, no, unknown, yes } from "./judgement.js";
import { answeredInfo, pageProviso } from "./limits.js";
import { inWords, type Situation } from "./situation.js";
import type { Subject } from "./subject.js";
import type { SurveyIndex } from "./survey-index.js";

/** Whether there are containers, and whether each group comes into one of its own. */
export function judgeContainers({ index, subjects }: Situation): Judgement {
  return allOf(judgeNode(index), ...subjects.map((subject) => judgeGroup(subject, index)));
}

/** `/dev/vfio/vfio` is there as soon as the module is, unless the kernel was built without (CONFIG_VFIO_CONTAINER). */
function judgeNode({ kernel }: SurveyIndex): Judgement {
  if (kernel === undefined) return yes("every kernel that has VFIO has containers");
  const { nodes, modules } = kernel.vfio;
  if (nodes !== undefined && !nodes.has("/dev/vfio/vfio") && modules.vfio === true) {
    return no("there is no /dev/vfio/vfio: this kernel was built without VFIO's containers (CONFIG_VFIO_CONTAINER)");
  }
  return yes("there is /dev/vfio/vfio");
}

/** Refusals that a step does away with: other processes, permissions, drivers. */
const MENDED: readonly string[] = [
  "ERR_IOSPAN_GROUP_BUSY",
  "ERR_IOSPAN_NO_PERMISSION",
  "ERR_IOSPAN_NO_VFIO",
  "ERR_IOSPAN_WRONG_DRIVER",
  "ERR_IOSPAN_GROUP_NOT_VIABLE",
];

function judgeGroup(subject: Subject, index: SurveyIndex): Judgement {
  const { answer } = subject;
  const asker = isCompat(subject) ? "iommufd" : "vfio_iommu_type1";
  const isolation = judgeIsolation(subject, asker, index);
  if (answer?.asked !== "refused" || MENDED.includes(answer.code)) return isolation;
  return isIsolated(subject, index) === false ? isolation : no(answer.message);
}

/** Whether an iommufd stands in for VFIO's containers: it answers for no group before a device of it is open. */
export function isCompat({ answer }: Subject): boolean {
  return answer?.asked === "not asked" && answer.isIommufd === true;
}

/** Whether all groups come into one container. */
export function judgeSharing(situation: Situation): Judgement {
  const { keys, index } = situation;
  if (keys.length < 2) return yes(`one container takes all, which are behind ${keys[0]}${compatProviso(situation)}`);
  if (!haveCommonPages(situation)) {
    return no(`${inWords(keys)} have no page size in common, which one container does not work with`);
  }
  return allOf(
    yes(
      `one container takes all: the kernel keeps a domain per IOMMU in it, and pins memory once${pageProviso(situation)}`,
    ),
    judgeSilentAttach(situation, index),
  );
}

/** One container for IOMMUs without any page size in common says 0 for them (vfio_iommu_type1.c, vfio_update_pgsize_bitmap). */
function haveCommonPages({ subjects }: Situation): boolean {
  const answers = subjects.flatMap((subject) => answeredInfo(subject) ?? []);
  return answers.reduce((common, { pageSizes }) => common & pageSizes, 2n ** 64n - 1n) !== 0n;
}

/** An iommufd in a container's place takes no IOMMU whose pages are larger than the processor's, and VFIO's own does. */
export function compatProviso(situation: Situation): string {
  return situation.subjects.some(isCompat) ? pageProviso(situation) : "";
}

/** Some releases block the DMA of the second SMMU's devices without a word, see `attachesNowhere`. */
export function judgeSilentAttach({ iommus }: Situation, { kernel }: SurveyIndex): Judgement | undefined {
  const smmus = iommus.filter(({ kind }) => kind === "arm,smmu-v3");
  if (smmus.length < 2) return undefined;
  const release = kernel?.release;
  if (release === undefined) {
    return unknown(
      "Linux 6.14 to 6.15.2 blocks the DMA of devices behind a second SMMUv3 without a word; uname -r tells whether it is one",
    );
  }
  if (!attachesNowhere(release)) return undefined;
  return no(`Linux ${release} would say that all joined, and block the DMA of those behind the second SMMUv3`);
}
