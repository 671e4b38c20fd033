import type { Topology, TopologyDevice } from "../topology.js";
import type { Drawn } from "./drawn.js";
import type { PictureOptions } from "./graph.js";

/** Devices that are drawn as one; most are one. */
export type Bunch = readonly [TopologyDevice, ...TopologyDevice[]];

/** So many devices on one line are drawn each for itself; more say no more. */
const MOST_ALONE = 6;
/** Fewer of a kind are not worth to be taken together, unless there are many kinds. */
const LEAST = 3;

/** The devices of a picture, with what is alike in long lists taken together. @internal */
export function bunchesOf(
  topology: Topology,
  { devices, hosts }: Drawn,
  { all = false }: PictureOptions,
): readonly Bunch[] {
  if (all) return devices.map(alone);
  const ofEngines = new Set(topology.engines.flatMap(({ interfaces }) => interfaces));
  const onHost = new Set(hosts.values());
  const isSingle = (device: TopologyDevice) => ofEngines.has(device.path) || device.isBus || onHost.has(device);
  const single = devices.filter(isSingle);
  const sizes = new Map<number, number>();
  for (const { group } of devices) if (typeof group === "number") sizes.set(group, (sizes.get(group) ?? 0) + 1);
  const wayOf = (device: TopologyDevice) => {
    const { group, links, bus } = device;
    const box = typeof group === "number" && (sizes.get(group) ?? 0) > 1 ? group : "";
    return [bus, box, hosts.get(device.path)?.path ?? "", ...links.flatMap(({ iommu, used }) => [iommu, used])].join(
      " ",
    );
  };
  const lists = listsBy(
    devices.filter((device) => !isSingle(device)),
    wayOf,
  );
  return [...single.map(alone), ...lists.flatMap(shortened)];
}

const alone = (device: TopologyDevice): Bunch => [device];

function shortened(list: Bunch): readonly Bunch[] {
  if (list.length <= MOST_ALONE) return list.map(alone);
  const byDriver = listsBy(list, ({ driver, enabled }) => `${driver} ${enabled}`);
  const parts = byDriver.flatMap((each) => (each.length < LEAST ? each.map(alone) : [each]));
  if (parts.length <= MOST_ALONE) return parts;
  // Many drivers with a device or two each.
  const [first, ...rest] = parts.slice(MOST_ALONE - 1).flat();
  return [...parts.slice(0, MOST_ALONE - 1), ...(first === undefined ? [] : [[first, ...rest] as const])];
}

/** The longest first. */
function listsBy(devices: readonly TopologyDevice[], keyOf: (device: TopologyDevice) => string): readonly Bunch[] {
  const lists = new Map<string, [TopologyDevice, ...TopologyDevice[]]>();
  for (const device of devices) {
    const key = keyOf(device);
    const list = lists.get(key);
    if (list === undefined) lists.set(key, [device]);
    else list.push(device);
  }
  return [...lists.values()].sort((a, b) => b.length - a.length);
}
