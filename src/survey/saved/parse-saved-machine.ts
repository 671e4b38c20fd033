import { IospanError } from "../../errors.js";
import { iova } from "../../iova.js";
import type { GroupHolder } from "../../machine/group-holders.js";
import type { FileStatus } from "../../machine/machine-files.js";
import type { GroupAnswer } from "../survey.js";
import type { RefusedRead } from "./recording-files.js";
import { SAVED_FORMAT, SAVED_VERSION } from "./saved-document.js";
import { type SavedContent, SavedMachine } from "./saved-machine.js";

/**
 * The machine that a file has.
 * @param text of the file.
 * @param name what the file is called in errors.
 * @throws IospanError `ERR_IOSPAN_SAVED_MACHINE` for what is no saved machine, is of a later version, or is damaged.
 */
export function parseSavedMachine(text: string, name: string): SavedMachine {
  return new SavedMachine(new DocumentReader(name).read(text), name);
}

type Json = unknown;
type JsonObject = Readonly<Record<string, Json>>;

/** Believes nothing of a document. */
class DocumentReader {
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  read(text: string): SavedContent {
    const document = this.#document(text);
    const listings = this.#array(document["listings"], "listings").map((each) => this.#texts(each, "listings"));
    const log = document["log"];
    return {
      taken: this.#text(document["taken"], "taken"),
      iospan: this.#text(document["iospan"], "iospan"),
      recorded: {
        files: this.#map(document, "files", (each) => this.#file(each)),
        directories: this.#map(document, "directories", (each) => this.#listing(each, listings)),
        links: this.#map(document, "links", (each) => this.#refused(each) ?? this.#text(each, "links")),
        statuses: this.#map(document, "statuses", (each) => this.#refused(each) ?? this.#status(each)),
      },
      holders: this.#groups(document, "holders", (each) =>
        this.#array(each, "holders").map((one) => this.#holder(one)),
      ),
      answers: this.#groups(document, "answers", (each) => this.#answer(this.#object(each, "answers"))),
      log: log === undefined ? undefined : this.#texts(log, "log"),
    };
  }

  #document(text: string): JsonObject {
    const document = this.#parse(text);
    const { format, version, iospan } = document;
    if (format !== SAVED_FORMAT) throw this.#error(`is no saved machine: its "format" is not "${SAVED_FORMAT}"`);
    if (typeof version !== "number" || version < 1) throw this.#damaged("version");
    if (version <= SAVED_VERSION) return document;
    const problem = `has version ${version} of the format, and this iospan reads up to ${SAVED_VERSION}`;
    throw this.#error(problem, `use the iospan that saved it, ${String(iospan)}, or a later one`);
  }

  #parse(text: string): JsonObject {
    let document: Json;
    try {
      document = JSON.parse(text);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw this.#error(`is no saved machine: it is not JSON (${why})`);
    }
    if (isObject(document)) return document;
    throw this.#error("is no saved machine: it is not an object");
  }

  #file(value: Json): string | Uint8Array | RefusedRead {
    if (typeof value === "string") return value;
    const { base64 } = this.#object(value, "files");
    return base64 === undefined ? this.#requireRefused(value, "files") : this.#bytes(this.#text(base64, "files"));
  }

  #bytes(base64: string): Uint8Array {
    try {
      return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    } catch {
      throw this.#damaged("files");
    }
  }

  #listing(value: Json, listings: readonly (readonly string[])[]): readonly string[] | RefusedRead {
    if (typeof value !== "number") return this.#requireRefused(value, "directories");
    return listings[value] ?? this.#fail("directories");
  }

  #status(value: Json): FileStatus {
    const [mode, uid, gid] = this.#array(value, "statuses").map((each) => this.#integer(each, "statuses"));
    if (mode === undefined || uid === undefined || gid === undefined) throw this.#damaged("statuses");
    return { mode, uid, gid };
  }

  #holder(value: Json): GroupHolder {
    const { pid, command } = this.#object(value, "holders");
    return { pid: this.#integer(pid, "holders"), command: this.#text(command, "holders") };
  }

  #answer(answer: JsonObject): GroupAnswer {
    switch (answer["asked"]) {
      case "answered":
        return this.#answered(answer);
      case "refused":
        return this.#refusal(answer);
      case "not asked":
        return this.#silence(answer);
      default:
        throw this.#damaged("answers");
    }
  }

  #silence({ why, isIommufd }: JsonObject): GroupAnswer {
    if (isIommufd !== undefined && isIommufd !== true) throw this.#damaged("answers");
    return { asked: "not asked", why: this.#text(why, "answers"), ...(isIommufd && { isIommufd }) };
  }

  #answered({ by, pageSizes, ranges, entries }: JsonObject): GroupAnswer {
    if (by !== "type1" && by !== "iommufd") throw this.#damaged("answers");
    return {
      asked: "answered",
      by,
      pageSizes: this.#address(pageSizes),
      ranges: this.#array(ranges, "answers").map((each) => {
        const { start, end } = this.#object(each, "answers");
        return { start: iova(this.#address(start)), end: iova(this.#address(end)) };
      }),
      entries: entries === undefined ? undefined : this.#integer(entries, "answers"),
    };
  }

  #refusal({ code, message, errno, hint }: JsonObject): GroupAnswer {
    return {
      asked: "refused",
      code: this.#text(code, "answers"),
      message: this.#text(message, "answers"),
      errno: errno === undefined ? undefined : this.#integer(errno, "answers"),
      hint: this.#text(hint, "answers"),
    };
  }

  /** 64 bits. */
  #address(value: Json): bigint {
    if (typeof value !== "string" || !/^0x[0-9a-f]{1,16}$/.test(value)) throw this.#damaged("answers");
    return BigInt(value);
  }

  #groups<T>(document: JsonObject, section: string, value: (item: Json) => T): ReadonlyMap<number, T> {
    const entries = [...this.#map(document, section, value)];
    if (entries.some(([key]) => !/^\d+$/.test(key))) throw this.#damaged(section);
    return new Map(entries.map(([key, item]) => [Number(key), item] as const));
  }

  #map<T>(document: JsonObject, section: string, value: (item: Json) => T): ReadonlyMap<string, T> {
    const entries = Object.entries(this.#object(document[section], section));
    return new Map(entries.map(([key, item]) => [key, value(item)] as const));
  }

  #refused(value: Json): RefusedRead | undefined {
    return isObject(value) ? this.#requireRefused(value, "refused") : undefined;
  }

  #requireRefused(value: Json, section: string): RefusedRead {
    return { refused: this.#text(this.#object(value, section)["refused"], section) };
  }

  #object(value: Json, section: string): JsonObject {
    return isObject(value) ? value : this.#fail(section);
  }

  #array(value: Json, section: string): readonly Json[] {
    return Array.isArray(value) ? value : this.#fail(section);
  }

  #texts(value: Json, section: string): readonly string[] {
    return this.#array(value, section).map((each) => this.#text(each, section));
  }

  #text(value: Json, section: string): string {
    return typeof value === "string" ? value : this.#fail(section);
  }

  #integer(value: Json, section: string): number {
    return typeof value === "number" && Number.isSafeInteger(value) ? value : this.#fail(section);
  }

  #fail(section: string): never {
    throw this.#damaged(section);
  }

  #damaged(section: string): IospanError {
    return this.#error(
      `is damaged: its "${section}" is not what iospan writes`,
      "take it anew from where it was saved",
    );
  }

  #error(problem: string, hint = "name a file that iospan saved a machine in"): IospanError {
    return new IospanError("ERR_IOSPAN_SAVED_MACHINE", `${this.#name} ${problem}`, { hint });
  }
}

function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
