import { checks } from "../../doctor/checks.js";
import { examine } from "../../doctor/examine.js";
import type { Topology } from "../../topology/topology.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import { readSurvey } from "../machine-source.js";
import type { Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import type { Line } from "../text/line.js";
import { listed } from "../text/quantity.js";
import { readPage } from "./doctor-page.js";
import { findCheck } from "./find-check.js";
import { checkListJson, examinationJson } from "./json.js";
import type { DoctorFlags } from "./options.js";
import { renderExamination, renderList } from "./render.js";
import { renderPage } from "./render-page.js";

/** `iospan doctor`. @returns the exit code */
export async function doctor(devices: readonly string[], flags: DoctorFlags, streams: Streams): Promise<number> {
  if (flags.list === true) return list(flags, streams);
  if (flags.explain !== undefined) return explain(flags.explain, flags, streams);
  const only = flags.only?.map(findCheck);
  const survey = await readSurvey(flags, { probe: flags.probe, log: true, devices });
  const found = examine(survey, devices, { only: only && checks.filter((check) => only.includes(check)) });
  const sources = survey.topology.sources.map(({ name }) => name);
  if (flags.json === true) writeJson(streams.stdout, examinationJson(found, sources));
  else {
    const remarks = {
      devices: devices.length > 0 ? undefined : whichDevices(found.devices, survey.topology),
      tellsLeftOut: only !== undefined,
    };
    write(renderExamination(found, sources, remarks), streams);
  }
  return found.worst === "FAIL" ? EXIT.unexpected : EXIT.ok;
}

/** Which devices were examined when none was named; undefined where the kernel's drivers say so. */
function whichDevices(names: readonly string[], { sources, engines }: Topology): string | undefined {
  const isRunning = sources.some(({ kind }) => kind === "sysfs");
  if (!isRunning && names.length > 0) {
    return `Examined are the interfaces of ${listed(engines.map(({ name }) => name))}: name devices to have others examined.`;
  }
  if (names.length > 0) return undefined;
  return isRunning
    ? "No device is on a VFIO driver, or has a driver_override that says so: name devices to have them examined."
    : "Firmware does not tell which devices VFIO shall have: name devices to have them examined.";
}

function list({ json }: DoctorFlags, streams: Streams): number {
  if (json === true) writeJson(streams.stdout, checkListJson(checks));
  else write(renderList(checks), streams);
  return EXIT.ok;
}

function explain(id: string, { json }: DoctorFlags, streams: Streams): number {
  const check = findCheck(id);
  const page = readPage(check.id);
  if (json === true) writeJson(streams.stdout, { id: check.id, title: check.title, markdown: page });
  else write(renderPage(page), streams);
  return EXIT.ok;
}

function write(lines: readonly Line[], { stdout, env }: Streams): void {
  const paint = painter(wantsColours(stdout, env));
  for (const line of lines) stdout.write(`${paint(line)}\n`);
}
