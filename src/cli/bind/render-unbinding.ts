import { faint, good, type Line, line, strong } from "../text/line.js";
import { widthOf } from "../text/width.js";
import { deviceJson } from "./bind-json.js";
import { commandLines, named, refusalLines, VERSION } from "./output.js";
import type { UnbindResult } from "./unbind-result.js";

/** What was done, or would be, and why not, in lines. */
export function renderUnbinding(result: UnbindResult): {
  readonly outcome: readonly Line[];
  readonly refusals: readonly Line[];
} {
  const { done, dryRun, refusals } = result;
  const told = refusalLines(refusals, dryRun ? "refused" : "error");
  return {
    outcome: done ? outcomeLines(result) : [],
    refusals: done || dryRun ? told : [...told, line(faint("nothing was changed"))],
  };
}

function outcomeLines({ returns, dryRun, commands, removed }: UnbindResult): readonly Line[] {
  const width = Math.max(0, ...returns.map(({ name }) => widthOf(name)));
  const lines = returns.map((each) => line("  ", named(each.name, width), "  ", ...wayOf(each, dryRun)));
  const title = dryRun ? "would be unbound" : "unbound";
  const rehearsal = commands.length === 0 ? "nothing has to be changed" : "as root, nothing of it is done now";
  return [
    ...(returns.length === 0 ? [line("nothing is bound by iospan")] : [line(strong(title)), ...lines]),
    ...(dryRun ? [line(strong(rehearsal)), ...commandLines(commands)] : []),
    ...removed.map((path) => line("removed ", path)),
  ];
}

function wayOf({ way, device, driver, remark, to }: UnbindResult["returns"][number], dryRun: boolean): Line {
  if (way === "nothing") return line(faint(remark ?? "stays"));
  // Which driver the kernel would find, a rehearsal cannot know.
  const target = dryRun ? (way === "released" ? "whichever the kernel finds" : (to?.driver ?? "no driver")) : driver;
  const why = { restored: "", chosen: "", released: "  iospan did not bind it: the kernel was asked to find a driver" }[
    way
  ];
  return line(good(`${device?.driver ?? "no driver"} → ${target ?? "no driver"}`), faint(dryRun ? "" : why));
}

/** What `iospan unbind` came to, for programs. */
export function unbindJson({ returns, refusals, done, dryRun, commands, removed }: UnbindResult) {
  return {
    version: VERSION,
    done: done && !dryRun,
    dryRun,
    devices: returns.map(({ name, device, way, driver, remark }) => ({
      ...(device === undefined ? { name, bus: null, group: null, iommu: null } : deviceJson(device)),
      way,
      previousDriver: device?.driver ?? null,
      driver: driver ?? null,
      remark: remark ?? null,
    })),
    refusals: refusals.map(({ device, message, hint }) => ({ device, message, hint })),
    commands,
    removed,
  };
}
