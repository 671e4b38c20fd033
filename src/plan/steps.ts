import { formatHolders } from "../machine/group-holders.js";
import type { InterruptsAsker } from "../vfio/isolated-interrupts.js";
import { bindStep, companionStep } from "./bind-steps.js";
import type { Companion } from "./companions.js";
import { isIsolated } from "./isolation.js";
import { moduleSteps } from "./module-steps.js";
import { nodeSteps } from "./node-steps.js";
import type { MemoryForecast, PlanStep } from "./plan.js";
import { inWords, type Situation } from "./situation.js";
import type { Subject } from "./subject.js";
import { isOnVfio } from "./survey-index.js";

const GIB = 2 ** 30;

/** What the steps are made from. */
export interface StepPlan {
  readonly situation: Situation;
  readonly companions: readonly Companion[];
  readonly memory: MemoryForecast;
  /** Modules that have to accept interrupts that are not isolated. */
  readonly unsafe: readonly InterruptsAsker[];
}

/** What has to be done before the space is opened, in order. Devices that VFIO cannot have take no steps. */
export function planSteps(plan: StepPlan): readonly PlanStep[] {
  const { situation, companions, unsafe } = plan;
  const usable = situation.subjects.filter((_, index) => situation.judgements[index]?.verdict !== "no");
  if (usable.length === 0) return [];
  const unbound = usable.filter(({ device }) => !isOnVfio(device));
  return [
    ...moduleSteps(situation, usable),
    ...holderSteps(situation, usable),
    ...unbound.map(bindStep),
    ...companions.filter(({ isHarmless }) => !isHarmless).map((companion) => companionStep(companion, situation)),
    ...unsafe.map((asker) => unsafeStep(asker, usable, situation)),
    ...nodeSteps(situation, usable),
    ...memlockSteps(plan),
  ];
}

function step(id: string, text: string, commands: readonly string[], device?: string): PlanStep {
  return { id, text, commands, device };
}

/** Whoever has a group open has it alone (drivers/vfio/group.c, vfio_group_fops_open). */
function holderSteps({ index }: Situation, usable: readonly Subject[]): readonly PlanStep[] {
  const groups = new Map(usable.map((subject) => [subject.device.group, subject]));
  return [...groups].flatMap(([group, { device, answer }]) => {
    if (typeof group !== "number") return [];
    const holders = index.kernel?.groups.get(group)?.holders ?? [];
    const isBusy = answer?.asked === "refused" && answer.code === "ERR_IOSPAN_GROUP_BUSY";
    if (holders.length === 0 && !isBusy) return [];
    const who = holders.length > 0 ? formatHolders(holders) : `fuser /dev/vfio/${group} tells`;
    return [step("release-group", `end what has group ${group} open: ${who}`, [], device.name)];
  });
}

function unsafeStep(asker: InterruptsAsker, usable: readonly Subject[], { index }: Situation): PlanStep {
  const names = usable.filter((subject) => isIsolated(subject, index) === false).map(({ device }) => device.name);
  const text = `have ${asker} accept the risk that DMA of ${inWords(names)} triggers other devices' interrupts`;
  return step("allow-unsafe-interrupts", text, [`echo 1 > /sys/module/${asker}/parameters/allow_unsafe_interrupts`]);
}

/** A limit with room for less than a gibibyte is the usual 8 MiB, and nobody's intention. */
function memlockSteps({ memory, situation }: StepPlan): readonly PlanStep[] {
  const most = Math.max(0, ...memory.perStrategy.map((each) => each.most ?? Number.POSITIVE_INFINITY));
  if (memory.perStrategy.length === 0 || most >= GIB || memory.limit === undefined) return [];
  const { uid } = situation.index.kernel?.process ?? {};
  const text = `raise the limit on locked memory (${memory.limit} bytes now), then log in again; for a service: LimitMEMLOCK=infinity`;
  const who = uid === undefined ? "*" : `${uid}:${uid}`;
  return [step("raise-memlock", text, [`echo '${who} - memlock unlimited' >> /etc/security/limits.d/90-iospan.conf`])];
}
