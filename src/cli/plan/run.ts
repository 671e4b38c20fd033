import { planCandidates } from "../../plan/candidates.js";
import { planToJson } from "../../plan/plan-to-json.js";
import { planSpace } from "../../plan/planner.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import { readSurvey, saveSurvey } from "../machine-source.js";
import type { PlanFlags } from "../plan.js";
import type { Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import type { Line } from "../text/line.js";
import { outputWidth } from "../text/output-width.js";
import { renderCandidates, renderSaved } from "./candidates.js";
import { commonReasons } from "./common-reasons.js";
import { renderPlan } from "./render.js";

/** What `iospan plan` does. @returns the exit code */
export async function runPlan(devices: readonly string[], flags: PlanFlags, streams: Streams): Promise<number> {
  const { save, probe } = flags;
  if (save !== undefined) await saveSurvey(save, flags, { probe });
  if (save !== undefined && devices.length === 0) {
    if (flags.json) writeJson(streams.stdout, { saved: save });
    else writeLines(renderSaved(save, outputWidth(streams.stdout, streams.env)), streams);
    return EXIT.ok;
  }
  return devices.length === 0 ? listCandidates(flags, streams) : tellPlan(devices, flags, streams);
}

async function listCandidates(flags: PlanFlags, streams: Streams): Promise<number> {
  const survey = await readSurvey(flags, { probe: false });
  const candidates = planCandidates(survey);
  if (flags.json)
    writeJson(streams.stdout, { candidates: { ...candidates, devices: candidates.devices.map(briefly) } });
  else {
    const reasons = candidates.devices.length === 0 ? commonReasons(survey) : [];
    writeLines(renderCandidates(candidates, outputWidth(streams.stdout, streams.env), reasons), streams);
  }
  return candidates.devices.length > 0 ? EXIT.ok : EXIT.unexpected;
}

function briefly({
  name,
  path,
  bus,
  driver,
  group,
  iommus,
  verdict,
  reason,
}: ReturnType<typeof planCandidates>["devices"][number]): object {
  return {
    name,
    path,
    bus,
    driver: driver === undefined ? "unknown" : driver,
    group: group === undefined ? "unknown" : group,
    iommus,
    verdict,
    reason,
  };
}

async function tellPlan(devices: readonly string[], flags: PlanFlags, streams: Streams): Promise<number> {
  const plan = planSpace(await readSurvey(flags, { probe: flags.probe, log: true, devices }), devices);
  if (flags.json) writeJson(streams.stdout, planToJson(plan));
  else writeLines(renderPlan(plan, outputWidth(streams.stdout, streams.env)), streams);
  return plan.verdict === "yes" ? EXIT.ok : EXIT.unexpected;
}

function writeLines(lines: readonly Line[], { stdout, env }: Streams): void {
  const paint = painter(wantsColours(stdout, env));
  for (const line of lines) stdout.write(`${paint(line)}\n`);
}
