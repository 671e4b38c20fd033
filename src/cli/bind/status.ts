import { type BindingStatus, type HeldDevice, readBindingStatus } from "../../binding/binding-status.js";
import type { Remembered } from "../../binding/remembered.js";
import { groupNode } from "../../machine/groups.js";
import type { MachineDevice } from "../../machine/machine.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import type { Streams } from "../streams.js";
import { faint, good, type Line, line, notice, strong } from "../text/line.js";
import { counted } from "../text/quantity.js";
import { widthOf } from "../text/width.js";
import { deviceJson } from "./bind-json.js";
import type { CommandWorld } from "./command-world.js";
import { named, VERSION, writeLines } from "./output.js";

/** `iospan bind --status`. @returns the exit code. */
export function showStatus(world: CommandWorld, streams: Streams, json: boolean): number {
  const status = readBindingStatus(world);
  if (json) writeJson(streams.stdout, statusJson(status));
  else writeLines(streams.stdout, streams, statusLines(status));
  return EXIT.ok;
}

function statusLines({ held, foreign, astray, others }: BindingStatus): readonly Line[] {
  const names = [...held.map(({ device }) => device), ...foreign].map(({ name }) => name);
  const width = Math.max(0, ...[...names, ...astray.map(({ entry }) => entry.device)].map(widthOf));
  return [
    ...section(
      "On VFIO, bound by iospan",
      held.map((each) => heldLine(each, width)),
    ),
    ...section(
      "On VFIO, bound by others",
      foreign.map((each) => foreignLine(each, width)),
    ),
    ...section(
      "Remembered, but not where iospan put them",
      astray.map((each) => astrayLine(each, width)),
    ),
    ...(names.length === 0 ? [line("no device is on VFIO")] : []),
    line(faint(`${counted(others, "other device")} on other drivers or none: iospan topology`)),
  ];
}

function section(title: string, lines: readonly Line[]): readonly Line[] {
  return lines.length === 0 ? [] : [line(strong(title)), ...lines];
}

function heldLine({ device, remembered: { entry } }: HeldDevice, width: number): Line {
  const override = entry.previousOverride === null ? "" : `, override ${entry.previousOverride}`;
  return line(...placed(device, width), faint(`  back to ${entry.previousDriver ?? "no driver"}${override}`));
}

function foreignLine(device: MachineDevice, width: number): Line {
  const override = device.driverOverride === undefined ? "" : `  override ${device.driverOverride}`;
  return line(...placed(device, width), faint(override));
}

function placed(device: MachineDevice, width: number): Line {
  const node = device.group === undefined ? "no group" : groupNode(device.group, { noiommu: device.noiommu ?? false });
  return line("  ", named(device.name, width), "  ", good(device.driver ?? "no driver"), `  ${node}`);
}

function astrayLine({ entry, device, place }: Remembered, width: number): Line {
  const now = place === "gone" ? "gone" : `on ${device?.driver ?? "no driver"}`;
  const cause = entry.state === "intended" ? ", a bind was interrupted" : "";
  const back = faint(`  was on ${entry.previousDriver ?? "no driver"}`);
  return line("  ", named(entry.device, width), "  ", notice(`${now}${cause}`), back);
}

function statusJson({ held, foreign, astray, others }: BindingStatus) {
  return {
    version: VERSION,
    bound: held.map(({ device, remembered }) => ({ ...driverJson(device), ...previousJson(remembered) })),
    foreign: foreign.map(driverJson),
    astray: astray.map((each) => ({
      name: each.entry.device,
      place: each.place,
      driver: each.device?.driver ?? null,
      interrupted: each.entry.state === "intended",
      ...previousJson(each),
    })),
    others,
  };
}

function driverJson(device: MachineDevice) {
  return { ...deviceJson(device), driver: device.driver ?? null, driverOverride: device.driverOverride ?? null };
}

function previousJson({ entry: { previousDriver, previousOverride } }: Remembered) {
  return { previousDriver, previousOverride };
}
