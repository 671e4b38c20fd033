import type { InterruptsAsker } from "../vfio/isolated-interrupts.js";
import { allowsUnsafe, isIsolated } from "./isolation.js";
import type { Situation } from "./situation.js";
import { SurveyIndex } from "./survey-index.js";

const ASKERS: readonly InterruptsAsker[] = ["vfio_iommu_type1", "iommufd"];

/**
 * The same machine with the modules that are there told to accept interrupts that are not isolated; no modules where that is
 * not what is in the way.
 */
export function accepting({ index, subjects }: Situation): {
  readonly index: SurveyIndex;
  readonly unsafe: readonly InterruptsAsker[];
} {
  const { kernel, topology } = index;
  if (kernel === undefined || subjects.every((subject) => isIsolated(subject, index) !== false))
    return { index, unsafe: [] };
  const unsafe = ASKERS.filter((asker) => kernel.vfio.modules[asker] === true && !allowsUnsafe(asker, index));
  const parameters = new Map(kernel.vfio.parameters);
  for (const asker of unsafe) parameters.set(`${asker}.allow_unsafe_interrupts`, "Y");
  return { index: new SurveyIndex({ topology, kernel: { ...kernel, vfio: { ...kernel.vfio, parameters } } }), unsafe };
}
