import type { SimulatedMachine } from "iospan";
import { askGroups, withAnswers } from "../../../src/survey/ask-groups.js";
import type { Survey } from "../../../src/survey/survey.js";
import { surveyMachine } from "../../../src/survey/survey-machine.js";

/** All that can be known of a simulated machine before a space is opened: its files, and what its groups answer. */
export async function surveyed(machine: SimulatedMachine): Promise<Survey> {
  const survey = surveyMachine(machine.syscalls, { devices: "all" });
  return withAnswers(survey, await askGroups(machine, survey));
}
