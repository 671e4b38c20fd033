import type { Argument, Option } from "commander";
import type { SourceFlags } from "../machine-source.js";
import { shippedChips } from "../package-files.js";
import { deviceNames, iommuNames } from "./machine-names.js";

/** A word that may stand where the cursor is. */
export interface Candidate {
  readonly value: string;
  /** What it is, in a few words. */
  readonly text: string;
}

/** What an option or an argument takes. */
export interface Values {
  readonly candidates: readonly Candidate[];
  /** Whether paths are taken, too. */
  readonly paths?: "files" | "folders" | undefined;
}

type Source = (machine: SourceFlags, typed: string) => Values | Promise<Values>;

const chips: Source = () => ({
  candidates: shippedChips().map((value) => ({ value, text: "a chip that comes with iospan" })),
  paths: "files",
});
const devices: Source = (machine) => namesOn(machine, "devices");
const iommus: Source = (machine) => namesOn(machine, "iommus");
const checkIds: Source = async (_, typed) => {
  const { checks } = await import("../../doctor/checks.js");
  const full = checks.map(({ id, title }) => ({ value: id, text: title }));
  // Short ones are taken, too, and offered to who has begun one.
  const short = full.map(({ value, text }) => ({ value: value.replace(/^IOSPAN-/, ""), text }));
  const small = short.map(({ value, text }) => ({ value: value.toLowerCase(), text }));
  return { candidates: typed === "" ? full : [...full, ...short, ...small] };
};
const files: Source = () => ({ candidates: [], paths: "files" });

/** By what a definition calls an option (`--device <text>`), or the value of one or an argument (`<file>`, `[log]`). */
const sources: Readonly<Record<string, Source>> = {
  chip: chips,
  deviceTree: chips,
  device: devices,
  devices,
  id: checkIds,
  ids: checkIds,
  iommu: iommus,
  file: files,
  log: files,
  folder: () => ({ candidates: [], paths: "folders" }),
};

/** What may stand for a value: its choices where the definition has them. */
export async function valuesFor(asked: Option | Argument, typed: string, machine: SourceFlags): Promise<Values> {
  if (asked.argChoices !== undefined) return { candidates: asked.argChoices.map((value) => ({ value, text: "" })) };
  const source = namesOf(asked)
    .map((each) => sources[each])
    .find((each) => each !== undefined);
  return (await source?.(machine, typed)) ?? { candidates: [] };
}

/** Whether it takes several with commas between them. */
export function isList(asked: Option | Argument): boolean {
  return namesOf(asked).includes("ids");
}

/** A sysfs is looked at for names alone, which is faster than reading it. */
async function namesOn(machine: SourceFlags, kind: "devices" | "iommus"): Promise<Values> {
  const { sysfs = "/sys", ...others } = machine;
  if (Object.keys(others).length === 0) {
    return { candidates: kind === "devices" ? deviceNames(sysfs) : iommuNames(sysfs) };
  }
  const { namesInSources } = await import("./source-names.js");
  return { candidates: (await namesInSources(machine))[kind] };
}

function namesOf(asked: Option | Argument): readonly string[] {
  if (!("flags" in asked)) return [asked.name()];
  const [, value = ""] = /[<[]([^.>\]]+)/.exec(asked.flags) ?? [];
  return [asked.attributeName(), value];
}
