import type { Candidates } from "../../plan/candidates.js";
import type { PlannedDevice } from "../../plan/plan.js";
import { faint, type Line, line, name, strong } from "../text/line.js";
import { counted, listed } from "../text/quantity.js";
import { padEnd, shorten } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import type { CommonReason } from "./common-reasons.js";

const MOST_LINES = 20;
const MOST_NAME = 34;
const MOST_REASONS = 3;

/** What can be named, for who has named nothing. @param reasons why nothing can, where that is so */
export function renderCandidates(
  { devices, engines, others }: Candidates,
  width: number,
  reasons: readonly CommonReason[] = [],
): readonly Line[] {
  const rest =
    others === 0
      ? []
      : wrap(
          line(
            faint(
              `${counted(others, "device")} behind an IOMMU ${others === 1 ? "is" : "are"} not for VFIO: iospan plan DEVICE says why`,
            ),
          ),
          width,
          2,
        );
  if (devices.length === 0)
    return [
      line("There is no device here that VFIO could hand out from behind an IOMMU."),
      ...rest,
      ...reasons.slice(0, MOST_REASONS).flatMap(({ reason, count }) => reasonLines(reason, count, width)),
    ];
  const column = Math.min(MOST_NAME, Math.max(...devices.map((device) => device.name.length)));
  const more = devices.length - MOST_LINES;
  return [
    line(strong("Name the devices that shall share an address space, two or more of:")),
    ...devices.slice(0, MOST_LINES).map((device) => deviceLine(device, column, width)),
    ...(more > 0 ? [line(faint(`  and ${more} more: iospan topology lists all`))] : []),
    ...rest,
    ...engines.flatMap((engine) =>
      wrap(line("Interfaces of one device: ", faint("iospan plan "), name(engine.interfaces.join(" "))), width, 2),
    ),
  ];
}

function reasonLines(reason: string, count: number, width: number): readonly Line[] {
  const start = `  ${String(count).padStart(3)}  `;
  return wrap(line(start, faint(reason)), width, start.length);
}

function deviceLine({ name: text, driver, iommus }: PlannedDevice, column: number, width: number): Line {
  const details = [listed(iommus), ...(driver === undefined ? [] : [driver ?? "no driver"])].join("  ");
  const room = width - column - 4;
  return line("  ", name(padEnd(shorten(text, column), column)), "  ", faint(shorten(details, room)));
}

/** That, and how to go on with it. */
export function renderSaved(file: string, width: number): readonly Line[] {
  return wrap(line(`Saved. Elsewhere: iospan plan --machine ${file} DEVICE…`), width, 2);
}
