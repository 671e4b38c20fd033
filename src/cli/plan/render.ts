import type { Plan, PlannedDevice, PlanStep, PlanTrap, StrategyPlan, Verdict } from "../../plan/plan.js";
import { bad, faint, good, type Line, line, name, notice, type Span, strong } from "../text/line.js";
import { counted } from "../text/quantity.js";
import { padEnd, shorten, widthOf } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import { renderEntries, renderMemory, renderPages, renderRanges } from "./limits.js";

const STYLES: Readonly<Record<Verdict, (text: string) => Span>> = { yes: good, no: bad, unknown: notice };
const MOST_NAME = 30;

/** A plan for people: the verdict in the first line, then what it rests on, and what to do. */
export function renderPlan(plan: Plan, width: number): readonly Line[] {
  const { devices, strategies, verdict } = plan;
  return [
    ...wrap(headline(plan), width),
    ...section(
      "Devices",
      devices.flatMap((device) => deviceLines(device, devices, width)),
    ),
    ...section(
      "Strategies",
      strategies.every((strategy) => isRefusedAlike(strategy, plan))
        ? alikeLines(plan, width)
        : strategies.flatMap((strategy) => strategyLines(strategy, plan, width)),
    ),
    ...(verdict === "no"
      ? []
      : section("Limits", [
          ...renderRanges(plan, width),
          ...renderPages(plan, width),
          ...renderMemory(plan, width),
          ...renderEntries(plan, width),
        ])),
    ...section(
      "To do first",
      plan.steps.flatMap((step, at) => stepLines(step, at, width)),
    ),
    ...section("In the same groups", companionLines(plan)),
    // That limits are not known yet is said with them.
    ...section(
      "Beware",
      sorted(plan.traps.filter(({ id }) => id !== "limits-unknown")).flatMap((trap) => trapLines(trap, width)),
    ),
  ];
}

function headline({ verdict, reason, devices, steps, recommended }: Plan): Line {
  const who =
    devices.length === 1
      ? `${devices[0]?.name} can be used`
      : `these ${devices.length} devices can share one I/O address space`;
  const after = steps.length === 0 ? "" : `, after ${counted(steps.length, "step")}`;
  switch (verdict) {
    case "yes":
      return line(
        good(`Yes${after}`),
        `: ${who}${recommended === undefined ? "" : `, with the strategy ${recommended}`}; ${reason}.`,
      );
    case "no":
      return line(bad("No"), `: ${reason}.`);
    case "unknown":
      return line(notice("Not known"), `: ${reason}.`);
  }
}

function section(title: string, lines: readonly Line[]): readonly Line[] {
  return lines.length === 0 ? [] : [[], line(strong(title)), ...lines];
}

function deviceLines(
  { name: text, driver, group, iommus, verdict, reason }: PlannedDevice,
  all: readonly PlannedDevice[],
  width: number,
): readonly Line[] {
  const column = Math.min(MOST_NAME, Math.max(...all.map((each) => widthOf(each.name))));
  const facts = [
    `behind ${iommus.join(", ") || "no IOMMU"}`,
    ...(typeof group === "number" ? [`group ${group}`] : []),
    ...(driver === undefined ? [] : [driver ?? "no driver"]),
  ];
  const room = width - column - 4;
  const own = line("  ", name(padEnd(shorten(text, column), column)), "  ", faint(shorten(facts.join(", "), room)));
  return verdict === "yes" ? [own] : [own, ...wrap(line("    ", STYLES[verdict](verdict), `: ${reason}`), width, 4)];
}

/** What was said in the first line stands against it. */
function isRefusedAlike({ verdict, reason }: StrategyPlan, plan: Plan): boolean {
  return verdict !== "yes" && verdict === plan.verdict && reason === plan.reason;
}

function alikeLines({ strategies, verdict }: Plan, width: number): readonly Line[] {
  const all = strategies.map(({ strategy }) => strategy).join(", ");
  const word = verdict === "no" ? "none" : "not known";
  return wrap(line("  ", STYLES[verdict](word), faint(`, for the same reason: ${all}`)), width, 4);
}

const STRATEGY_COLUMN = "shared-container".length;

function strategyLines(
  { strategy, verdict, reason }: StrategyPlan,
  { recommended, reason: known }: Plan,
  width: number,
): readonly Line[] {
  const mark = strategy === recommended ? good("* ") : "  ";
  const start = line(
    mark,
    name(padEnd(strategy, STRATEGY_COLUMN)),
    "  ",
    STYLES[verdict](padEnd(verdict, "unknown".length)),
    "  ",
  );
  // What stands against all of them was said in the first line.
  return wrap(line(...start, reason === known ? faint("for the same reason") : reason), width, STRATEGY_COLUMN + 13);
}

/** Commands stand by themselves, unbroken, to be copied. */
function stepLines({ text, commands }: PlanStep, index: number, width: number): readonly Line[] {
  return [
    ...wrap(line(`  ${index + 1}. `, text), width, 5),
    ...commands.map((command) => line(faint("     # "), command)),
  ];
}

function companionLines({ companions }: Plan): readonly Line[] {
  return companions.map(({ name: text, group, driver, isHarmless }) => {
    const state = driver === undefined ? "driver unknown" : (driver ?? "no driver");
    return line(
      "  ",
      name(text),
      faint(`  group ${group}, ${state}: `),
      isHarmless ? "may stay as it is" : notice("in the way"),
    );
  });
}

function trapLines({ severity, text }: PlanTrap, width: number): readonly Line[] {
  return wrap(line(severity === "warning" ? notice("  ! ") : faint("  - "), text), width, 4);
}

function sorted(traps: readonly PlanTrap[]): readonly PlanTrap[] {
  return [...traps].sort((a, b) => Number(b.severity === "warning") - Number(a.severity === "warning"));
}
