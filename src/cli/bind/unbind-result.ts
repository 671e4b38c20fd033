import type { UnbindOutcome } from "../../binding/unbind-devices.js";

/** What `iospan unbind` came to. */
export interface UnbindResult extends UnbindOutcome {
  readonly dryRun: boolean;
  readonly commands: readonly string[];
  /** Files that were removed. */
  readonly removed: readonly string[];
}
