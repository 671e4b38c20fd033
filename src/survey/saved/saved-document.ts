import type { GroupHolder } from "../../machine/group-holders.js";
import type { RefusedRead } from "./recording-files.js";

/** What a saved machine's `format` is. */
export const SAVED_FORMAT = "iospan-machine";
/** The version that is written, and the newest that is read. */
export const SAVED_VERSION = 1;

/** A file that is no text. */
export interface SavedBytes {
  readonly base64: string;
}

/** An answer of the kernel's about a group, addresses and bits as `0x…`. */
export type SavedAnswer =
  | {
      readonly asked: "answered";
      readonly by: "type1" | "iommufd";
      readonly pageSizes: string;
      readonly ranges: readonly { readonly start: string; readonly end: string }[];
      readonly entries?: number | undefined;
    }
  | {
      readonly asked: "refused";
      readonly code: string;
      readonly message: string;
      readonly errno?: number | undefined;
      readonly hint: string;
    }
  | {
      readonly asked: "not asked";
      readonly why: string;
      /** VFIO's container is an iommufd. */
      readonly isIommufd?: true | undefined;
    };

/**
 * A saved machine as JSON. Keys are paths of the machine's, or numbers of groups. Version 1 stays readable; what is added to it
 * is optional.
 */
export interface SavedDocument {
  readonly format: typeof SAVED_FORMAT;
  readonly version: number;
  /** ISO 8601, UTC. */
  readonly taken: string;
  /** The version of iospan that saved it. */
  readonly iospan: string;
  readonly files: Readonly<Record<string, string | SavedBytes | RefusedRead>>;
  readonly links: Readonly<Record<string, string | RefusedRead>>;
  /** Names in directories; devices of a kind have the same. */
  readonly listings: readonly (readonly string[])[];
  /** By index in {@link listings}. */
  readonly directories: Readonly<Record<string, number | RefusedRead>>;
  /** Mode, user and group. */
  readonly statuses: Readonly<Record<string, readonly [number, number, number] | RefusedRead>>;
  readonly holders: Readonly<Record<string, readonly GroupHolder[]>>;
  readonly answers: Readonly<Record<string, SavedAnswer>>;
  /** Lines of the kernel's log, oldest first. */
  readonly log?: readonly string[] | undefined;
}
