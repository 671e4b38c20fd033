import type { Ground, Lifeline } from "./lifeline.js";
import type { NetworkInterfaces } from "./network-interfaces.js";

/** Block devices of the network's that do not say in sysfs where their other end is. */
const NETWORK_BLOCK = /^(nbd|rbd|drbd)\d/;

/** What is to be known about the network interfaces that go. @param found what needs some of them */
export function networkNotes(
  ground: Ground,
  interfaces: NetworkInterfaces,
  found: readonly Lifeline[],
): readonly Lifeline[] {
  const elsewhere = hiddenInterfaces(ground, interfaces);
  if (interfaces.departing.length > 0 || elsewhere.length > 0) markNetworkBlocks(ground);
  return [...remoteStorage(ground), ...interfacesUp(interfaces, found), ...elsewhere];
}

/** Mounted or not. */
function remoteStorage({ departures }: Ground): readonly Lifeline[] {
  return departures.all
    .filter(({ remote }) => remote === true)
    .map(({ device, place }) => ({ kind: "network-mount", device, cuts: false, message: `there is ${place}` }));
}

/** Routes of other tables and of VRFs are not among those that are looked at (net/ipv4/fib_trie.c, fib_route_seq_start). */
function interfacesUp({ departing }: NetworkInterfaces, found: readonly Lifeline[]): readonly Lifeline[] {
  const told = found.map(({ message }) => message);
  return departing
    .filter(({ name }) => !told.some((message) => message.split(/[ ,()]+/).includes(name)))
    .map(({ name, departure: { device, place } }) => ({
      kind: "route",
      device,
      cuts: false,
      message: `the network interface ${name} of ${place} is up`,
    }));
}

/** A network controller's driver has made an interface, unless it is one for user space; another namespace may have it. */
function hiddenInterfaces({ reader, departures }: Ground, interfaces: NetworkInterfaces): readonly Lifeline[] {
  return departures.all.flatMap(({ path, device, place }): readonly Lifeline[] => {
    const driver = reader.target(`${path}/driver`) ?? "vfio";
    const isNetwork = reader.text(`${path}/class`)?.startsWith("0x02") === true;
    if (!isNetwork || /vfio|uio|stub/.test(driver) || interfaces.isBelow(path)) return [];
    const message = `${place} has no network interface here: it may be in another network namespace, as a container's`;
    return [{ kind: "route", device, cuts: false, message }];
  });
}

function markNetworkBlocks({ reader, storage: { inUse, blocks } }: Ground): void {
  const used = new Set(inUse.flatMap((name) => [...blocks.below(name)]));
  for (const name of used) {
    if (NETWORK_BLOCK.test(name)) reader.markUnknown(`/dev/${name}`, "by which network interface is not known");
  }
}
