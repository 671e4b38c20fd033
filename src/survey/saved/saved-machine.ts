import { findHolders } from "../../machine/find-holders.js";
import type { GroupHolder } from "../../machine/group-holders.js";
import type { MachineFiles } from "../../machine/machine-files.js";
import { OptionalFiles } from "../../machine/optional-files.js";
import type { Finding, Topology } from "../../topology/topology.js";
import { withAnswers, withLog } from "../ask-groups.js";
import { type MachineTopologyOptions, topologyOfMachine } from "../machine-topology.js";
import type { GroupAnswer, Survey } from "../survey.js";
import { type HolderSearch, type SurveyOptions, surveyMachine } from "../survey-machine.js";
import { LenientFiles } from "./lenient-files.js";
import { type RecordedFiles, RecordingFiles } from "./recording-files.js";
import { SavedFiles } from "./saved-files.js";

/** What a saved machine consists of. */
export interface SavedContent {
  /** When it was saved, as ISO 8601 in UTC. */
  readonly taken: string;
  /** The version of iospan that saved it. */
  readonly iospan: string;
  readonly recorded: RecordedFiles;
  /** By group: what is not in files. */
  readonly holders: ReadonlyMap<number, readonly GroupHolder[]>;
  readonly answers: ReadonlyMap<number, GroupAnswer>;
  readonly log: readonly string[] | undefined;
}

/** A machine as it was when it was saved. */
export class SavedMachine {
  readonly content: SavedContent;
  /** Of what was not saved nobody knows whether it was there: `ERR_IOSPAN_SAVED_MACHINE`. */
  readonly files: MachineFiles;
  readonly #name: string;

  /** @param name what it is called in errors: its file. */
  constructor(content: SavedContent, name: string) {
    this.content = content;
    this.files = new SavedFiles(content.recorded, name);
    this.#name = name;
  }

  /** As `topologyOfMachine` of the machine. What an older iospan did not save is missing, and a finding says so. */
  topology(options: MachineTopologyOptions = {}): Topology {
    const files = new LenientFiles(this.files);
    return this.#noted(topologyOfMachine(files, options), files);
  }

  /** As `surveyMachine` of the machine, with the answers and the log that were saved with it; see {@link topology}. */
  survey(options: Omit<SurveyOptions, "findHolders"> = {}): Survey {
    const { holders, answers, log } = this.content;
    const files = new LenientFiles(this.files);
    const survey = surveyMachine(files, { ...options, findHolders: () => holders });
    const complete = withLog(withAnswers(survey, answers), log);
    return { ...complete, topology: this.#noted(complete.topology, files) };
  }

  #noted(topology: Topology, { missing }: LenientFiles): Topology {
    const [first] = missing;
    if (first === undefined) return topology;
    const text =
      `${this.#name}, saved by iospan ${this.content.iospan}, lacks ${missing.size} of the files that this version reads, ` +
      `${first} among them: what they tell is missing until the machine is saved again`;
    const finding: Finding = { id: "saved-incomplete", severity: "note", text };
    return { ...topology, findings: [...topology.findings, finding] };
  }
}

/** A survey of all of a machine, with what was read for it. */
export interface RecordedSurvey {
  readonly survey: Survey;
  readonly recorded: RecordedFiles;
}

/**
 * Reads all of a machine that a survey of any of its devices needs.
 * @throws IospanError as `surveyMachine`.
 */
export function recordMachine(
  files: MachineFiles,
  options: Omit<SurveyOptions, "devices" | "firmware"> = {},
): RecordedSurvey {
  const recorded = new RecordingFiles(files);
  // Whose descriptors lead where is nobody's business; who holds groups is kept by itself.
  const search: HolderSearch = options.findHolders ?? ((groups) => findHolders(new OptionalFiles(files), groups));
  return { survey: surveyMachine(recorded, { ...options, devices: "all", findHolders: search }), recorded };
}

/** What is to be saved of a machine. */
export function contentOf(
  { survey, recorded }: RecordedSurvey,
  made: Pick<SavedContent, "taken" | "iospan">,
): SavedContent {
  const groups = [...(survey.kernel?.groups ?? [])];
  return {
    ...made,
    recorded,
    holders: new Map(groups.flatMap(([id, { holders }]) => (holders === undefined ? [] : [[id, holders] as const]))),
    answers: new Map(groups.flatMap(([id, { answer }]) => (answer === undefined ? [] : [[id, answer] as const]))),
    log: survey.kernel?.log,
  };
}
