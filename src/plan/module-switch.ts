import type { VfioFacts } from "../survey/survey.js";

/**
 * A module parameter that is a yes or no, as files of /sys/module say it (kernel/params.c, param_get_bool: `Y` or `N`), and in
 * all words that the kernel itself takes (lib/kstrtox.c, kstrtobool). Undefined where it cannot be read.
 * @param parameter `vfio_iommu_type1.allow_unsafe_interrupts`
 */
export function moduleSwitch(vfio: VfioFacts | undefined, parameter: string): boolean | undefined {
  const text = vfio?.parameters.get(parameter)?.trim() ?? "";
  if (/^(?:[yte1]|on)/i.test(text)) return true;
  return /^(?:[nfd0]|of)/i.test(text) ? false : undefined;
}
