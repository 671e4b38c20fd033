import type { Machine } from "../machine/machine.js";
import type { RecordStore } from "./record-store.js";

/** What binding works on. */
export interface BindingWorld {
  readonly machine: Machine;
  readonly store: RecordStore;
  /** Loads a driver's module, as modprobe does; what it throws ends the binding. Absent: nothing is loaded. */
  readonly load?: ((driver: string) => void) | undefined;
  /** `SSH_CONNECTION` of this process. */
  readonly sshConnection?: string | undefined;
}

/** Why something is not done. */
export interface Refusal {
  readonly device: string;
  readonly message: string;
  /** The way out: a command where there is one. */
  readonly hint: string;
}
