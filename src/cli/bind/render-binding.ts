import { persistenceNotes } from "../../binding/persistence.js";
import type { BindingPlan } from "../../binding/plan-binding.js";
import { faint, good, type Line, line, notice, strong } from "../text/line.js";
import { widthOf } from "../text/width.js";
import type { BindResult } from "./bind-result.js";
import { commandLines, named, noteLines, paragraph, refusalLines, unreadNote } from "./output.js";

/** What was done, or would be, and why not, in lines. */
export function renderBinding(result: BindResult): {
  readonly outcome: readonly Line[];
  readonly refusals: readonly Line[];
} {
  const { plan, done, dryRun } = result;
  const notes = noteLines([
    ...plan.lifelines.filter(({ cuts }) => !cuts || done).map(({ message }) => message),
    ...companionNotes(plan),
    ...immovableNotes(plan),
    ...ungroupedNotes(plan),
    ...unreadNote(plan.unread),
  ]);
  const lasting = done || dryRun ? persistLines(result) : [];
  if (done) {
    const outcome = [...deviceLines(result), ...commandsOf(result), ...undoLines(result), ...lasting, ...notes];
    return { outcome, refusals: [] };
  }
  const refusals = refusalLines(plan.refusals, dryRun ? "refused" : "error");
  const end = dryRun ? [] : [line(faint("nothing was changed"))];
  return { outcome: lasting, refusals: [...refusals, ...notes, ...end] };
}

function ungroupedNotes({ ungrouped }: BindingPlan): readonly string[] {
  if (ungrouped.length === 0) return [];
  const names = ungrouped.map(({ name }) => name).join(", ");
  return [`${names}: in no group while no driver has had it, so nobody knew companions; once more tells them`];
}

function deviceLines({ plan, dryRun }: BindResult): readonly Line[] {
  const width = Math.max(...plan.devices.map(({ device }) => widthOf(device.name)));
  const title = dryRun ? "would be bound" : "bound";
  const lines = plan.devices.map(({ device, driver, already }) => {
    const way = already ? `${driver}, as before` : `${device.driver ?? "no driver"} → ${driver}`;
    const group = device.group === undefined ? "" : `  group ${device.group}`;
    return line("  ", named(device.name, width), "  ", good(way), faint(group));
  });
  const alone = plan.leftAlone.map(({ name, driver }) =>
    line("  ", named(name, width), "  ", faint(`${driver}, a bridge that stays`)),
  );
  return [line(strong(title)), ...lines, ...alone];
}

function commandsOf({ dryRun, commands }: BindResult): readonly Line[] {
  if (!dryRun) return [];
  const title = commands.length === 0 ? "nothing has to be changed" : "as root, nothing of it is done now";
  return [line(strong(title)), ...commandLines(commands)];
}

function undoLines({ plan, dryRun }: BindResult): readonly Line[] {
  const moved = plan.devices.filter(({ already }) => !already).map(({ device }) => device.name);
  if (dryRun || moved.length === 0) return [];
  return [line(faint("back again: "), `sudo iospan unbind ${moved.join(" ")}`)];
}

function persistLines({ files, written, lasting }: BindResult): readonly Line[] {
  const [first] = lasting;
  if (first === undefined) return [];
  const shown = files.flatMap(({ path, text }) => [
    line(strong(`${path}${written ? ", written" : ""}`)),
    ...commandLines(text.trimEnd().split("\n")),
  ]);
  const notes = persistenceNotes(first).flatMap((each) =>
    each.startsWith(" ") ? [line(each)] : paragraph(line(notice("note: ")), each),
  );
  return [...shown, ...notes];
}

/** Without them the group is not viable, and nobody can open it. */
function companionNotes({ companions, immovable, devices }: BindingPlan): readonly string[] {
  const takable = companions.filter((each) => !immovable.includes(each));
  const groups = new Set(takable.map(({ group }) => group));
  return [...groups].map((group) => {
    const mates = takable.filter((each) => each.group === group);
    const first = devices.find(({ device }) => device.group === group)?.device.name ?? "";
    const named = mates.map(({ name, driver }) => `${name} is on ${driver}`).join(", ");
    return `group ${group} is not viable yet, all its devices go to VFIO or none: ${named}; sudo iospan bind --group ${first}`;
  });
}

/** A driver with DMA of its own has a bridge: without one, or on pcieport, the bridge does no harm. */
function immovableNotes({ immovable }: BindingPlan): readonly string[] {
  return immovable.map(
    ({ name, driver, group, path }) =>
      `group ${group} is not viable: ${name}, a bridge, which VFIO does not take, is on ${driver}; take that from it: ` +
      `echo ${name} > ${path}/driver/unbind`,
  );
}
