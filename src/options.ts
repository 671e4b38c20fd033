import { IospanError } from "./errors.js";

/** Every option there is; TypeScript holds it complete. */
export type KnownOptions<T> = Readonly<Record<keyof T & string, true>>;

/**
 * A misspelt option must not be taken for an absent one.
 * @param call what the options are for, as a user calls it: `map()`.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what is no object, and for an option that there is not.
 */
export function checkOptions<T extends object>(call: string, options: T, known: KnownOptions<T>): void {
  const names = Object.keys(known).join(", ");
  if (typeof options !== "object" || options === null) {
    throw new IospanError(
      "ERR_IOSPAN_INVALID_ARGUMENT",
      `${call} takes its options as an object, not ${String(options)}`,
      {
        hint: `{ ${names} }, each of which may be left out`,
      },
    );
  }
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (unknown === undefined) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${call} has no option "${unknown}"`, {
    hint: `it has ${names}`,
  });
}
