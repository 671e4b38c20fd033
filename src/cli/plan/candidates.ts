import type { Candidates } from "../../plan/candidates.js";
import type { PlannedDevice } from "../../plan/plan.js";
import { faint, type Line, line, name, strong } from "../text/line.js";
import { counted, listed } from "../text/quantity.js";
import { padEnd, shorten } from "../text/width.js";
import { wrap } from "../text/wrap.js";

const MOST_LINES = 20;
const MOST_NAME = 34;

/** What can be named, for who has named nothing. */
export function renderCandidates({ devices, engines, others }: Candidates, width: number): readonly Line[] {
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
    return [line("There is no device here that VFIO could hand out from behind an IOMMU."), ...rest];
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

function deviceLine({ name: text, driver, iommus }: PlannedDevice, column: number, width: number): Line {
  const details = [listed(iommus), ...(driver === undefined ? [] : [driver ?? "no driver"])].join("  ");
  const room = width - column - 4;
  return line("  ", name(padEnd(shorten(text, column), column)), "  ", faint(shorten(details, room)));
}

/** That, and how to go on with it. */
export function renderSaved(file: string, width: number): readonly Line[] {
  return wrap(line(`Saved. Elsewhere: iospan plan --machine ${file} DEVICE…`), width, 2);
}
