import { IospanError } from "../errors.js";
import type { Survey } from "../survey/survey.js";
import type { TopologyDevice } from "../topology/topology.js";
import type { InterruptsAsker } from "../vfio/isolated-interrupts.js";
import { companionsOf } from "./companions.js";
import { judgeDevice } from "./device-judgement.js";
import { budgetEntries } from "./entry-budget.js";
import { findPlanned } from "./find-devices.js";
import { unknown } from "./judgement.js";
import { planPageSizes, planRanges } from "./limits.js";
import { forecastMemory } from "./memory-forecast.js";
import type { Plan, StrategyPlan } from "./plan.js";
import { plannedDevice } from "./planned-device.js";
import type { Situation } from "./situation.js";
import { planSteps } from "./steps.js";
import { planStrategies, recommend } from "./strategies.js";
import { iommuKeys, type Subject, subjectOf } from "./subject.js";
import { summarize } from "./summary.js";
import { SurveyIndex } from "./survey-index.js";
import { findTraps } from "./traps.js";
import { accepting } from "./unsafe-interrupts.js";

/**
 * Plans address spaces on one machine. It goes through the survey once, so that many plans of one machine cost little.
 */
export class Planner {
  readonly #index: SurveyIndex;

  constructor(survey: Survey) {
    this.#index = new SurveyIndex(survey);
  }

  /**
   * Whether and how these devices can share one I/O address space. Nothing is opened.
   * @param names as people write them, see `findPlanned`; one or more, each device once.
   * @throws IospanError `ERR_IOSPAN_NO_DEVICE` for a name that no device has, or several; `ERR_IOSPAN_INVALID_ARGUMENT` for no
   * names, and for a device that is named twice.
   */
  plan(names: readonly string[]): Plan {
    if (!Array.isArray(names) || names.length === 0) throw noNames();
    const devices = names.map((asked) => ({ asked, device: findPlanned(this.#index.topology, asked) }));
    requireDistinct(devices);
    return planFor(
      devices.map(({ asked, device }) => subjectOf(asked, device, this.#index)),
      this.#index,
    );
  }
}

/**
 * Whether and how devices can share one I/O address space, from what is known of their machine: which strategies work and why
 * not, what has to be done before, which addresses and page sizes are left, what memory it takes. Nothing is opened. For many
 * plans of one machine, make one {@link Planner}.
 * @param names as people write them, see `findPlanned`; one or more, each device once.
 * @throws IospanError `ERR_IOSPAN_NO_DEVICE` for a name that no device has, or several; `ERR_IOSPAN_INVALID_ARGUMENT` for no
 * names, and for a device that is named twice.
 */
export function planSpace(survey: Survey, names: readonly string[]): Plan {
  return new Planner(survey).plan(names);
}

function planFor(subjects: readonly Subject[], index: SurveyIndex): Plan {
  const situation = situationOf(subjects, index);
  const { strategies, unsafe } = withWayOut(situation);
  const recommended = recommend(strategies);
  const companions = companionsOf(situation);
  const iovaRanges = situation.ranges;
  const pageSizes = planPageSizes(situation, recommended);
  const memory = forecastMemory(strategies, index.kernel);
  const steps = planSteps({ situation, companions, memory, unsafe });
  return {
    devices: subjects.map((subject, at) => plannedDevice(subject, situation.judgements[at] ?? NOT_JUDGED)),
    ...summarize(situation, strategies),
    strategies,
    recommended,
    steps: strategies.every(({ verdict }) => verdict === "no") ? [] : steps,
    companions: companions.map(({ name, group, driver, isHarmless }) => ({ name, group, driver, isHarmless })),
    iovaRanges,
    pageSizes,
    memory,
    entries: budgetEntries(situation, pageSizes.granule),
    traps: findTraps(situation, companions),
  };
}

function situationOf(subjects: readonly Subject[], index: SurveyIndex): Situation {
  return {
    index,
    subjects,
    judgements: subjects.map((subject) => judgeDevice(subject, index)),
    keys: iommuKeys(subjects),
    ranges: planRanges({ subjects, index }),
    iommus: [...new Set(subjects.flatMap(({ iommus }) => iommus))],
  };
}

/** Where everything fails for interrupts that are not isolated, and nothing else, a step that accepts the risk is the way out. */
function withWayOut(situation: Situation): {
  readonly strategies: readonly StrategyPlan[];
  readonly unsafe: readonly InterruptsAsker[];
} {
  const strategies = planStrategies(situation);
  if (strategies.some(({ verdict }) => verdict !== "no")) return { strategies, unsafe: [] };
  const { index, unsafe } = accepting(situation);
  const others = unsafe.length === 0 ? strategies : planStrategies({ ...situation, index });
  return others.every(({ verdict }) => verdict === "no") ? { strategies, unsafe: [] } : { strategies: others, unsafe };
}

/** There is one for each device. */
const NOT_JUDGED = unknown("it was not looked at");

function noNames(): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "a plan needs devices", {
    hint: 'name one or more: ["0000:01:00.0", "9030000.dma-port"]; iospan topology lists them',
  });
}

function requireDistinct(devices: readonly { readonly asked: string; readonly device: TopologyDevice }[]): void {
  const known = new Map<string, string>();
  for (const { asked, device } of devices) {
    const before = known.get(device.path);
    if (before !== undefined) {
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${before} and ${asked} are one device, ${device.name}`, {
        device: device.name,
        hint: "name each device once",
      });
    }
    known.set(device.path, asked);
  }
}
