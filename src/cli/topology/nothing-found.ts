import { nearMisses } from "../../machine/device-name.js";
import { selectTopology, type TopologySelection } from "../../topology/select.js";
import type { Topology } from "../../topology/topology.js";
import { type Line, line, WIDTH } from "../text/line.js";
import { wrap } from "../text/wrap.js";
import { sourceLines } from "./render.js";

const MOST_NAMES = 8;

/** What can be asked for, one by one. */
const CRITERIA = ["iommu", "group", "bus", "driver", "device"] as const;

/** Whether devices or IOMMUs were asked for, and there are none such. */
export function isNothing({ iommus, devices }: Topology, selection: TopologySelection): boolean {
  return iommus.length === 0 && devices.length === 0 && CRITERIA.some((each) => selection[each] !== undefined);
}

/** Why there is nothing to show, and what there is. @param all before anything was left out */
export function renderNothing(all: Topology, selection: TopologySelection): readonly Line[] {
  const reasons = CRITERIA.flatMap((each) => reason(all, each, selection[each]) ?? []);
  const texts = reasons.length > 0 ? reasons : ["nothing has all that was asked for at once"];
  return [...sourceLines(all), ...texts.flatMap((text) => wrap(line(text), WIDTH, 2))];
}

/** Undefined where it was not asked for, or something has it. */
function reason(
  all: Topology,
  criterion: (typeof CRITERIA)[number],
  wanted: string | number | undefined,
): string | undefined {
  if (wanted === undefined) return undefined;
  const { iommus, devices } = selectTopology(all, { [criterion]: wanted });
  if (devices.length > 0 || (criterion === "iommu" && iommus.length > 0)) return undefined;
  return REASONS[criterion](all, String(wanted));
}

const REASONS: Readonly<Record<(typeof CRITERIA)[number], (all: Topology, wanted: string) => string>> = {
  iommu: ({ iommus }, wanted) =>
    `no IOMMU matches ${wanted}; ${thereAre(
      iommus.map(({ name }) => name),
      wanted,
    )}`,
  group: (all, wanted) => {
    if (!isRunning(all)) return `groups are unknown: ${firmware(all)} has none, the kernel makes them`;
    if (wanted === "none") return "no device is without a group";
    const groups = all.groups.map(({ number }) => String(number));
    return `there is no group ${wanted}; ${thereAre(groups, wanted)}`;
  },
  bus: ({ devices }, wanted) =>
    `no device is on a bus ${wanted}; ${thereAre(
      devices.map(({ bus }) => bus),
      wanted,
    )}`,
  driver: (all, wanted) => {
    if (!isRunning(all)) return `drivers are unknown: ${firmware(all)} has none, the kernel chooses them`;
    if (wanted === "none") return "no device is without a driver";
    const drivers = all.devices.flatMap(({ driver }) => driver ?? []);
    return `no device has the driver ${wanted}; ${thereAre(drivers, wanted)}`;
  },
  device: ({ devices }, wanted) =>
    `no device matches ${wanted}; ${thereAre(
      devices.map(({ name }) => name),
      wanted,
    )}`,
};

/** Those that may be meant, else the first. */
function thereAre(names: readonly string[], wanted: string): string {
  const known = [...new Set(names)];
  const near = nearMisses(wanted, known);
  if (near.length > 0) return `did you mean ${near.join(" or ")}?`;
  if (known.length === 0) return "there are none at all";
  const more = known.length - MOST_NAMES;
  const shown = known.slice(0, MOST_NAMES).join(", ");
  return `there ${known.length === 1 ? "is" : "are"} ${shown}${more > 0 ? ` and ${more} more` : ""}`;
}

function isRunning({ sources }: Topology): boolean {
  return sources.some(({ kind }) => kind === "sysfs");
}

function firmware({ sources }: Topology): string {
  return sources.some(({ kind }) => kind === "device-tree") ? "a device tree" : "an ACPI table";
}
