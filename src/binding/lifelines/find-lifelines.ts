import type { DeviceState } from "../../machine/machine.js";
import type { SysfsSource } from "../../machine/sysfs.js";
import { findConsoles } from "./consoles.js";
import { Departures } from "./departures.js";
import { findGraphics } from "./graphics.js";
import { findKeyboards } from "./keyboards.js";
import type { Finder, Ground, Lifeline } from "./lifeline.js";
import { MachineReader } from "./machine-reader.js";
import { findMachinery } from "./machinery.js";
import { findMounted } from "./mounted.js";
import { findNetwork } from "./network.js";
import { findOpenNodes } from "./open-nodes.js";
import { includeRemoteStorage } from "./remote-storage.js";
import { findSharedFolders } from "./shared-folders.js";
import { Storage } from "./storage.js";

/** Every search, in the order in which what they find is told. */
const finders: readonly Finder[] = [
  findMounted,
  findSharedFolders,
  findNetwork,
  findConsoles,
  findGraphics,
  findMachinery,
  findOpenNodes,
  findKeyboards,
];

/** What hangs on devices, and what could not be looked at. */
export interface LifelineReport {
  readonly lifelines: readonly Lifeline[];
  /**
   * Files that were there and could not be read: `/proc/PID/fd (EACCES)`; and what nothing tells: `/dev/nbd0 (by which network
   * interface is not known)`. What they would have said is not known.
   */
  readonly unread: readonly string[];
}

/** What the search may be told. */
export interface LifelineOptions {
  /** `SSH_CONNECTION` of this process; where it is absent, the processes above this one are asked. */
  readonly sshConnection?: string | undefined;
}

/**
 * What of the running machine would be cut off, or is to be known, if all of these devices left their drivers at once: mounted file
 * systems, swap, default routes, the ssh session, consoles, screens, IOMMUs, nodes that processes have open. Only reads; what it
 * does not find may be there all the same: a file system in a virtual machine, a disk array of a vendor's.
 */
export function findLifelines(
  source: SysfsSource,
  devices: readonly DeviceState[],
  { sshConnection }: LifelineOptions = {},
): LifelineReport {
  const reader = new MachineReader(source);
  const departures = new Departures(reader, devices);
  const found = departures.all.length === 0 ? [] : search({ reader, departures, sshConnection });
  const unlike = new Map(found.map((each) => [`${each.device} ${each.message}`, each]));
  return { lifelines: [...unlike.values()], unread: reader.unread };
}

function search(known: Omit<Ground, "storage">): readonly Lifeline[] {
  includeRemoteStorage(known.reader, known.departures);
  const ground = { ...known, storage: new Storage(known.reader) };
  return finders.flatMap((find) => find(ground));
}
