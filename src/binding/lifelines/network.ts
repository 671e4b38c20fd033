import type { Finder, Ground, Lifeline, LifelineKind } from "./lifeline.js";
import type { MachineReader } from "./machine-reader.js";
import { serversOf } from "./mount-servers.js";
import { addressText, parseAddress, samePrefix } from "./network-address.js";
import { NetworkInterfaces } from "./network-interfaces.js";
import { networkNotes } from "./network-notes.js";
import { defaultInterfaces, interfaceTo, interfaceWith, type Route, readRoutes, wayTo } from "./routes.js";
import { findSshConnection } from "./session.js";
import { type Connection, readSshConnections } from "./ssh-sockets.js";

/**
 * Default routes, the ssh session of whoever asks, file systems that are mounted from other machines; and what is to be known
 * of the other interfaces that go.
 */
export const findNetwork: Finder = (ground) => {
  const routes = readRoutes(ground.reader);
  const interfaces = new NetworkInterfaces(ground.reader, ground.departures);
  const hanging = [...sessions(ground, routes), ...defaults(routes), ...networkMounts(ground, routes)];
  const found = hanging.flatMap((each) => lifelinesOf(ground, interfaces, each));
  return [...found, ...networkNotes(ground, interfaces, found)];
};

/** Something that needs an interface. */
interface Hanging {
  readonly kind: LifelineKind;
  readonly interface: string;
  /** Completed by the interface's name: `the default route is by`. */
  readonly what: string;
}

function sessions({ reader, sshConnection }: Ground, routes: readonly Route[]): readonly Hanging[] {
  const connection = findSshConnection(reader, sshConnection);
  const [client] = connection?.split(" ") ?? [];
  const name = client === undefined ? undefined : interfaceTo(routes, client);
  const own: readonly Hanging[] =
    name === undefined ? [] : [{ kind: "session", interface: name, what: `this ssh session, from ${client}, is by` }];
  const others = readSshConnections(reader, connection).filter(
    ({ remote }) => name === undefined || String(remote) !== String(parseAddress(client ?? "")),
  );
  return [...own, ...others.flatMap((each) => otherSession(reader, routes, each))];
}

/** Its packets come by one interface and may leave by another. */
function otherSession(reader: MachineReader, routes: readonly Route[], connection: Connection): readonly Hanging[] {
  const { local, remote } = connection;
  // Every interface has a route to those.
  const linkLocal = samePrefix(remote, [0xfe, 0x80, ...new Array<number>(14).fill(0)], 10);
  const names = new Set(
    [interfaceWith(reader, routes, local) ?? [], (linkLocal ? undefined : wayTo(routes, remote)) ?? []].flat(),
  );
  const what = `an ssh session, from ${addressText(remote)}, is by`;
  return [...names].map((name) => ({ kind: "session", interface: name, what }));
}

function defaults(routes: readonly Route[]): readonly Hanging[] {
  return defaultInterfaces(routes).map((name) => ({ kind: "route", interface: name, what: "the default route is by" }));
}

function networkMounts({ storage }: Ground, routes: readonly Route[]): readonly Hanging[] {
  return storage.mounts.flatMap((mount) => {
    const names = new Set(serversOf(mount).flatMap((server) => interfaceTo(routes, server) ?? []));
    const what = `${mount.point} is mounted from ${mount.source} by`;
    return [...names].map((name): Hanging => ({ kind: "network-mount", interface: name, what }));
  });
}

function lifelinesOf({ departures }: Ground, interfaces: NetworkInterfaces, hanging: Hanging): readonly Lifeline[] {
  const { kind, what, interface: name } = hanging;
  const fate = interfaces.fate(name, departures);
  if (fate === undefined) return interfaces.isOpaque(name) ? doubts(interfaces, hanging) : [];
  const below = fate.through.slice(1);
  const by = below.length === 0 ? "" : ` (over ${below.join(", ")})`;
  const { device, place } = fate.departure;
  return [{ kind, device, cuts: true, message: `${what} ${name}, which is on ${place}${by}` }];
}

/** Any interface that is up may be below a tunnel's. */
function doubts({ departing }: NetworkInterfaces, { kind, what, interface: name }: Hanging): readonly Lifeline[] {
  return departing.map(({ name: lower, departure: { device, place } }) => ({
    kind,
    device,
    cuts: false,
    message: `${what} ${name}, of which it is not known whether it goes over ${lower} of ${place}`,
  }));
}
