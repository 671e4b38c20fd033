import { IospanError } from "../../errors.js";
import type { Machine } from "../../machine/machine.js";
import { askGroups, groupsToAsk, withAnswers, withLog } from "../../survey/ask-groups.js";
import type { Survey } from "../../survey/survey.js";
import { surveyMachine, surveyOfTopology } from "../../survey/survey-machine.js";
import { mergeTopologies } from "../../topology/merge.js";
import { openLog } from "../faults/open-log.js";
import type { SourceFlags, WantedFacts } from "../machine-source.js";
import { namedFirmware } from "./named-sources.js";
import { type OpenMachine, openMachine } from "./open-machine.js";

/** See `readSurvey` of machine-source.ts. */
export async function readSurvey(flags: SourceFlags, wanted: WantedFacts = {}): Promise<Survey> {
  const named = namedFirmware(flags);
  const machine = openMachine(flags);
  if (machine === undefined) return surveyOfTopology(mergeTopologies(named));
  const firmware = named.length > 0 ? named : undefined;
  const options = { name: machine.name, firmware, devices: wanted.devices };
  if (machine.saved !== undefined) return machine.saved.survey(options);
  return completed(machine, surveyMachine(machine.files, options), wanted);
}

/** Adds what is not in files, and what only this machine can tell. */
export async function completed({ isLive }: OpenMachine, survey: Survey, wanted: WantedFacts): Promise<Survey> {
  if (!isLive) return survey;
  const answered = wanted.probe === true ? await withLiveAnswers(survey) : survey;
  return wanted.log === true ? withLog(answered, await readLog()) : answered;
}

async function withLiveAnswers(survey: Survey): Promise<Survey> {
  const { groups, others } = groupsToAsk(survey);
  // Real system calls are loaded where there is something to ask.
  const machine = groups.length === 0 ? undefined : await liveMachine();
  return withAnswers(survey, machine === undefined ? others : await askGroups(machine, survey));
}

/** Undefined where there are no system calls to be had, which only asking needs. */
async function liveMachine(): Promise<Machine | undefined> {
  try {
    const { linuxSyscalls } = await import("../../syscalls/linux.js");
    return { syscalls: linuxSyscalls() };
  } catch (error) {
    if (error instanceof IospanError) return undefined;
    throw error;
  }
}

/** Undefined where it may not be read. */
async function readLog(): Promise<readonly string[] | undefined> {
  const lines: string[] = [];
  try {
    const { lines: all } = openLog(undefined, { follow: false, signal: new AbortController().signal });
    for await (const line of all) if (line !== undefined) lines.push(line);
    return lines;
  } catch (error) {
    if (error instanceof IospanError) return undefined;
    throw error;
  }
}
