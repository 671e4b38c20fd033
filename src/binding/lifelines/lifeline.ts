import type { Departures } from "./departures.js";
import type { MachineReader } from "./machine-reader.js";
import type { Storage } from "./storage.js";

/** Every {@link LifelineKind}. */
export const lifelineKinds = [
  "mount",
  "swap",
  "route",
  "session",
  "network-mount",
  "console",
  "graphics",
  "open-node",
  "iommu",
  "interrupt-controller",
  "consumer",
  "keyboard",
] as const;

/** What hangs on a device. */
export type LifelineKind = (typeof lifelineKinds)[number];

/** Something of the running machine that hangs on a device which is about to leave its driver. */
export interface Lifeline {
  readonly kind: LifelineKind;
  /** The kernel's name of the device that it hangs on. */
  readonly device: string;
  /** Whether the machine, or somebody who uses it, is cut off; else it is something to know. */
  readonly cuts: boolean;
  /** `/ is mounted from /dev/nvme0n1p2, which is on 0000:01:00.0` */
  readonly message: string;
}

/** What the search for lifelines goes by. */
export interface Ground {
  readonly reader: MachineReader;
  readonly departures: Departures;
  readonly storage: Storage;
  /** `SSH_CONNECTION` of whoever asks, where that is known: client, its port, server, its port. */
  readonly sshConnection?: string | undefined;
}

/** Looks for lifelines of one sort. */
export type Finder = (ground: Ground) => readonly Lifeline[];
