import { readChip } from "../../../src/cli/chip-file.js";
import { type Examination, examine } from "../../../src/doctor/examine.js";
import { simulate } from "../../../src/sim/simulate.js";
import type { SimulateOptions } from "../../../src/sim/simulate-options.js";
import type { SimulatedMachine } from "../../../src/sim/simulated-machine.js";
import { askGroups, withAnswers, withLog } from "../../../src/survey/ask-groups.js";
import { surveyMachine } from "../../../src/survey/survey-machine.js";
import type { Syscalls } from "../../../src/syscalls/syscalls.js";
import type { Topology } from "../../../src/topology/topology.js";

/** The two interfaces of the example chip's engine. */
export const ENGINE = ["0000:01:00.0", "9030000.dma-port"] as const;

/** The example chip, or another that the package ships. */
export function machine(options: SimulateOptions = {}, chip = "dual-smmu"): SimulatedMachine {
  return simulate(readChip(chip).content, options);
}

/** A simulated machine, or a simulated kernel by itself. */
export interface Examinable {
  readonly syscalls: Syscalls;
  readonly kernelLog: readonly string[];
}

/** The doctor at work on a simulated machine, with all that a live one would be asked. */
export async function examined(
  on: Examinable,
  names: readonly string[] = ENGINE,
  firmware: readonly Topology[] = [],
): Promise<Examination> {
  const files = surveyMachine(on.syscalls, { devices: names, firmware });
  const asked = withAnswers(files, await askGroups(on, files));
  return examine(withLog(asked, on.kernelLog), names);
}

/** What did not pass, as `ID OUTCOME`, those that cannot be checked left out. */
export function wrong({ checks }: Examination): readonly string[] {
  return checks
    .filter(({ outcome }) => outcome === "FAIL" || outcome === "WARN")
    .map(({ id, outcome }) => `${id} ${outcome}`);
}
