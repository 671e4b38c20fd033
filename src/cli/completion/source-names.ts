import { planCandidates } from "../../plan/candidates.js";
import type { TopologyDevice } from "../../topology/topology.js";
import { readSurvey, type SourceFlags } from "../machine-source.js";
import type { Candidate } from "./values.js";

/** What can be named of the sources on a command line. */
interface SourceNames {
  /** Those that a plan may be made for first; then what else is behind an IOMMU and switched on. */
  readonly devices: readonly Candidate[];
  readonly iommus: readonly Candidate[];
}

const NOTHING: SourceNames = { devices: [], iommus: [] };
const STANDARD_INPUT = ["-", "/dev/stdin"];

/** Reads what was named. None where it cannot be read, or not without taking the shell's input. */
export async function namesInSources(flags: SourceFlags): Promise<SourceNames> {
  if (Object.values(flags).some((each) => STANDARD_INPUT.includes(each))) return NOTHING;
  try {
    return await read(flags);
  } catch {
    // Nobody who presses Tab wants to hear why.
    return NOTHING;
  }
}

async function read(flags: SourceFlags): Promise<SourceNames> {
  const survey = await readSurvey(flags);
  const { devices, iommus } = survey.topology;
  const fit = new Set(planCandidates(survey).devices.map(({ path }) => path));
  const guarded = devices.filter(({ links, enabled }) => links.length > 0 && enabled);
  const names = new Map(iommus.map(({ path, name }) => [path, name]));
  const candidate = (device: TopologyDevice) => ({ value: device.name, text: textOf(device, names) });
  return {
    devices: [...guarded.filter(({ path }) => fit.has(path)), ...guarded.filter(({ path }) => !fit.has(path))].map(
      candidate,
    ),
    iommus: iommus.map(({ name, kind }) => ({ value: name, text: kind })),
  };
}

function textOf({ bus, group, driver, links }: TopologyDevice, names: ReadonlyMap<string, string>): string {
  const facts = [
    bus,
    typeof group === "number" ? `group ${group}` : undefined,
    driver === null ? "no driver" : driver,
    [...new Set(links.map(({ iommu }) => names.get(iommu) ?? iommu))].join(" and "),
  ];
  return facts.filter((each) => each !== undefined && each !== "").join(", ");
}
