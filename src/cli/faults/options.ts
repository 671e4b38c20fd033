import type { SourceFlags } from "../machine-source.js";

/** What the user asked for on the command line. The sources are of the machine that the log is of. */
export interface FaultsFlags extends SourceFlags {
  readonly follow?: true;
  readonly json?: true;
}
