/** Every {@link PersistMode}. */
export const persistModes = ["print", "write"] as const;

/** Whether what makes a binding last is shown, or written as well. */
export type PersistMode = (typeof persistModes)[number];

/** What the users of `iospan bind` ask for. */
export interface BindFlags {
  readonly driver?: string;
  readonly group?: true;
  readonly status?: true;
  readonly dryRun?: true;
  readonly force?: true;
  readonly load?: true;
  /** A word that is no mode is a device. */
  readonly persist?: string | true;
  readonly json?: true;
}

/** What the users of `iospan unbind` ask for. */
export interface UnbindFlags {
  readonly all?: true;
  readonly group?: true;
  readonly driver?: string;
  readonly dryRun?: true;
  readonly force?: true;
  readonly persist?: true;
  readonly json?: true;
}
