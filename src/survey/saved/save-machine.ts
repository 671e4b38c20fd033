import type { MachineFiles } from "../../machine/machine-files.js";
import { withAnswers, withLog } from "../ask-groups.js";
import type { GroupAnswer } from "../survey.js";
import { formatSavedMachine } from "./format-saved-machine.js";
import { contentOf, recordMachine, type SavedContent } from "./saved-machine.js";

/** What goes into a saved machine besides its files. */
export interface SaveOptions extends Pick<SavedContent, "taken" | "iospan"> {
  /** What `askGroups` gave; none where absent. */
  readonly answers?: ReadonlyMap<number, GroupAnswer> | undefined;
  /** The kernel's log, oldest line first; none where absent. */
  readonly log?: readonly string[] | undefined;
}

/**
 * A machine as the text of a file: all that a survey of any of its devices reads, which `parseSavedMachine` gives back. That
 * includes firmware's tables, the kernel's command line, and the names of processes that have groups open.
 * @throws IospanError as `surveyMachine`.
 */
export function saveMachine(files: MachineFiles, { taken, iospan, answers, log }: SaveOptions): string {
  const { survey, recorded } = recordMachine(files);
  const complete = withLog(withAnswers(survey, answers ?? new Map()), log);
  return formatSavedMachine(contentOf({ survey: complete, recorded }, { taken, iospan }));
}
