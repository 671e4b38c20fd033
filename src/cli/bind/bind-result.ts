import type { LastingBinding, PersistentFile } from "../../binding/persistence.js";
import type { BindingPlan } from "../../binding/plan-binding.js";

/** What `iospan bind` came to. */
export interface BindResult {
  readonly plan: BindingPlan;
  readonly done: boolean;
  readonly dryRun: boolean;
  /** Commands that would be run; empty unless rehearsed. */
  readonly commands: readonly string[];
  readonly lasting: readonly LastingBinding[];
  readonly files: readonly PersistentFile[];
  readonly written: boolean;
}
