import type { Finder, Ground, Lifeline, LifelineKind } from "./lifeline.js";
import { type Mount, readMounts } from "./mounts.js";
import { NetworkInterfaces } from "./network-interfaces.js";
import { defaultInterfaces, interfaceTo, type Route, readRoutes } from "./routes.js";
import { findSshConnection } from "./session.js";

/** Default routes, the ssh session of whoever asks, and file systems that are mounted from other machines. */
export const findNetwork: Finder = (ground) => {
  const routes = readRoutes(ground.reader);
  const interfaces = new NetworkInterfaces(ground.reader);
  const hanging = [...sessions(ground, routes), ...defaults(routes), ...networkMounts(ground, routes)];
  return hanging.flatMap((each) => lifelineOf(ground, interfaces, each) ?? []);
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
  return name === undefined
    ? []
    : [{ kind: "session", interface: name, what: `this ssh session, from ${client}, is by` }];
}

function defaults(routes: readonly Route[]): readonly Hanging[] {
  return defaultInterfaces(routes).map((name) => ({ kind: "route", interface: name, what: "the default route is by" }));
}

function networkMounts({ reader }: Ground, routes: readonly Route[]): readonly Hanging[] {
  return readMounts(reader).flatMap((mount) => {
    const server = serverOf(mount);
    const name = server === undefined ? undefined : interfaceTo(routes, server);
    if (name === undefined) return [];
    return [{ kind: "network-mount", interface: name, what: `${mount.point} is mounted from ${mount.source} by` }];
  });
}

/** NFS and CIFS both say by which address they reach the server (fs/nfs/super.c; fs/smb/client/cifsfs.c). */
function serverOf({ type, options }: Mount): string | undefined {
  if (!/^(nfs4?|cifs|smb3|ceph)$/.test(type)) return undefined;
  return options
    .split(",")
    .find((option) => option.startsWith("addr="))
    ?.slice("addr=".length);
}

function lifelineOf(
  { departures }: Ground,
  interfaces: NetworkInterfaces,
  { kind, what, interface: name }: Hanging,
): Lifeline | undefined {
  const fate = interfaces.fate(name, departures);
  if (fate === undefined) return undefined;
  const below = fate.through.slice(1);
  const by = below.length === 0 ? "" : ` (over ${below.join(", ")})`;
  const { device, place } = fate.departure;
  return { kind, device, cuts: true, message: `${what} ${name}, which is on ${place}${by}` };
}
