import { hex } from "../../iova.js";
import type { FileStatus } from "../../machine/machine-files.js";
import type { GroupAnswer } from "../survey.js";
import type { RefusedRead } from "./recording-files.js";
import {
  SAVED_FORMAT,
  SAVED_VERSION,
  type SavedAnswer,
  type SavedBytes,
  type SavedDocument,
} from "./saved-document.js";
import type { SavedContent } from "./saved-machine.js";

/** The text of a saved machine's file. */
export function formatSavedMachine(content: SavedContent): string {
  return `${JSON.stringify(documentOf(content), undefined, 1)}\n`;
}

function documentOf({ taken, iospan, recorded, holders, answers, log }: SavedContent): SavedDocument {
  const listings = new Listings();
  const directories = object(recorded.directories, listings.indexOf);
  return {
    format: SAVED_FORMAT,
    version: SAVED_VERSION,
    taken,
    iospan,
    files: object(recorded.files, savedFile),
    links: object(recorded.links, (target) => target),
    listings: listings.all,
    directories,
    statuses: object(recorded.statuses, savedStatus),
    holders: object(holders, (each) => each),
    answers: object(answers, savedAnswer),
    log,
  };
}

/** Sorted, so that two saves of a machine differ where the machine does. */
function object<K extends string | number, V, T>(map: ReadonlyMap<K, V>, value: (item: V) => T): Record<string, T> {
  const entries = [...map]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => [String(key), value(item)] as const);
  return Object.fromEntries(entries);
}

/** Listings, each kept once. */
class Listings {
  readonly all: (readonly string[])[] = [];
  readonly #indices = new Map<string, number>();

  readonly indexOf = (names: readonly string[] | RefusedRead): number | RefusedRead => {
    if (isRefused(names)) return names;
    const key = names.join("\n");
    const known = this.#indices.get(key) ?? this.all.length;
    if (known === this.all.length) {
      this.all.push(names);
      this.#indices.set(key, known);
    }
    return known;
  };
}

function isRefused(value: object): value is RefusedRead {
  return "refused" in value;
}

function savedFile(content: string | Uint8Array | RefusedRead): string | SavedBytes | RefusedRead {
  if (!(content instanceof Uint8Array)) return content;
  return textOf(content) ?? { base64: btoa(Array.from(content, (byte) => String.fromCharCode(byte)).join("")) };
}

/** Only where it says what the bytes say. */
function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function savedStatus(status: FileStatus | RefusedRead): readonly [number, number, number] | RefusedRead {
  return "refused" in status ? status : [status.mode, status.uid, status.gid];
}

function savedAnswer(answer: GroupAnswer): SavedAnswer {
  if (answer.asked !== "answered") return answer;
  const ranges = answer.ranges.map(({ start, end }) => ({ start: hex(start), end: hex(end) }));
  return { ...answer, pageSizes: hex(answer.pageSizes), ranges };
}
