import type { BindingWorld } from "../../binding/binding-world.js";
import type { EtcFiles } from "./etc-files.js";

/** What `iospan bind` and `iospan unbind` work on. */
export interface CommandWorld extends BindingWorld {
  /** Whether the process may change drivers. */
  readonly root: boolean;
  readonly etc: EtcFiles;
  /** Loads a driver's module. */
  readonly modprobe: (driver: string) => void;
}
