import type { Argument, Option } from "commander";
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

type Source = (sysfs: string) => Values | Promise<Values>;

const chips: Source = () => ({
  candidates: shippedChips().map((value) => ({ value, text: "a chip that comes with iospan" })),
  paths: "files",
});
const devices: Source = (sysfs) => ({ candidates: deviceNames(sysfs) });
const checkIds: Source = async () => {
  const { checks } = await import("../../doctor/checks.js");
  return { candidates: checks.map(({ id, title }) => ({ value: id, text: title })) };
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
  iommu: (sysfs) => ({ candidates: iommuNames(sysfs) }),
  file: files,
  log: files,
  folder: () => ({ candidates: [], paths: "folders" }),
};

/** What may stand for a value: its choices where the definition has them. */
export async function valuesFor(asked: Option | Argument, sysfs: string): Promise<Values> {
  if (asked.argChoices !== undefined) return { candidates: asked.argChoices.map((value) => ({ value, text: "" })) };
  const source = namesOf(asked)
    .map((each) => sources[each])
    .find((each) => each !== undefined);
  return (await source?.(sysfs)) ?? { candidates: [] };
}

function namesOf(asked: Option | Argument): readonly string[] {
  if (!("flags" in asked)) return [asked.name()];
  const [, value = ""] = /[<[]([^.>\]]+)/.exec(asked.flags) ?? [];
  return [asked.attributeName(), value];
}
