import type { SourceFlags } from "../machine-source.js";

/** What the user asked for on the command line. */
export interface DoctorFlags extends SourceFlags {
  readonly probe: boolean;
  readonly only?: readonly string[];
  readonly list?: true;
  readonly explain?: string;
  readonly json?: true;
}
