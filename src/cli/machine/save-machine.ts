import { IospanError } from "../../errors.js";
import { formatSavedMachine } from "../../survey/saved/format-saved-machine.js";
import { contentOf, recordMachine } from "../../survey/saved/saved-machine.js";
import type { SourceFlags, WantedFacts } from "../machine-source.js";
import { packageVersion } from "../package-files.js";
import { openMachine } from "./open-machine.js";
import { completed } from "./read-survey.js";
import { writeSavedMachine } from "./saved-machine-file.js";

/** See `saveSurvey` of machine-source.ts. */
export async function saveSurvey(file: string, flags: SourceFlags, wanted: WantedFacts = {}): Promise<void> {
  const machine = openMachine(flags);
  if (machine === undefined || flags.deviceTree !== undefined || flags.iort !== undefined) throw notFirmware(file);
  if (machine.saved !== undefined) throw isSavedAlready(file, machine.name);
  const { survey, recorded } = recordMachine(machine.files);
  const complete = await completed(machine, survey, wanted);
  const made = { taken: new Date().toISOString(), iospan: packageVersion() };
  writeSavedMachine(file, formatSavedMachine(contentOf({ survey: complete, recorded }, made)));
}

function notFirmware(file: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${file} would not have the firmware that was named in it`, {
    hint: "save the machine alone, and name the firmware again beside --machine",
  });
}

function isSavedAlready(file: string, name: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${name} is saved already, and not saved again in ${file}`, {
    hint: "copy the file",
  });
}
