import { isBefore } from "../../machine/kernel-release.js";
import { attachesNowhere } from "../../space/strategies/attach-regression.js";
import type { Check } from "../check.js";
import { noKernel, passed, untold, warned } from "../diagnoses.js";
import { examinedIommus } from "../examined-device.js";

/** Some releases answer success to attaching a device to the domain of another SMMUv3, and do not attach it. */
export const silentAttach: Check = {
  id: "IOSPAN-SILENT-ATTACH",
  title: "attaching that has effect",
  run: (patient) => {
    const smmus = examinedIommus(patient).filter(({ kind }) => kind === "arm,smmu-v3");
    if (smmus.length < 2) return [];
    const { kernel } = patient.survey;
    if (kernel === undefined) return [noKernel];
    if (kernel.release === undefined || isBefore(kernel.release, 6, 14) === undefined)
      return [untold("/proc does not say which Linux this is", { fix: ["make /proc readable"] })];
    if (!attachesNowhere(kernel.release)) return [passed(`Linux ${kernel.release} says so where it does not attach`)];
    return [
      warned(
        `Linux ${kernel.release} may block the DMA of all but one SMMU's devices without a word, in one container or iommufd`,
        {
          evidence: [
            `/proc/sys/kernel/osrelease: ${kernel.release}`,
            `devices behind ${smmus.map(({ name }) => name).join(", ")}`,
          ],
          fix: [
            'iospan takes a container for each SMMU there ({ strategy: "mirrored" }); other programs need Linux 6.15.3 or newer',
          ],
        },
      ),
    ];
  },
};
