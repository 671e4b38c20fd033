import { IospanError } from "../../errors.js";
import { deviceTreeError } from "../device-tree-error.js";
import { describePlace, LINE_MARKER, type Place, type SourceFile } from "./place.js";

/** Gives the text of a file that `/include/` names. */
export type IncludeResolver = (name: string) => string;

const MAX_INCLUDES = 32;
const INCLUDE = /\/include\/\s*"([^"\n]*)"/y;
/** A directive, and no property of such a name. */
const DIRECTIVE =
  /^#[ \t]*(?:include|define|undef|if|ifdef|ifndef|elif|else|endif|pragma|error)(?![\w,.+*#?@-]|[ \t]*[=;{])/;
const CPP_HINT = "preprocess it first: cpp -nostdinc -undef -x assembler-with-cpp -I include board.dts board.pre.dts";
const DEFAULT_HINT = "see the Devicetree Specification, chapter 6, or try dtc, which reads the same language";

/**
 * The text of a device tree source, read from left to right. What a word means depends on where it stands (`reg` may be a
 * name, `12` a number, a name or two bytes), so whoever reads says what it expects next.
 */
export class Lexer {
  readonly #include: IncludeResolver | undefined;
  /** Files that include the present one, each at where to go on. */
  readonly #outer: { readonly file: SourceFile; readonly at: number }[] = [];
  #file: SourceFile;
  #at = 0;
  #names: readonly string[] = [];

  constructor(file: SourceFile, include?: IncludeResolver) {
    this.#file = file;
    this.#include = include;
  }

  /** Where the next word begins. */
  get place(): Place {
    this.#skip();
    return { file: this.#file, offset: this.#at };
  }

  get isAtEnd(): boolean {
    this.#skip();
    return this.#at >= this.#file.text.length;
  }

  /** Names of the nodes that are open, for messages. */
  enter(name: string): void {
    this.#names = [...this.#names, name];
  }

  leave(): void {
    this.#names = this.#names.slice(0, -1);
  }

  get depth(): number {
    return this.#names.length;
  }

  isNext(text: string): boolean {
    this.#skip();
    return this.#file.text.startsWith(text, this.#at);
  }

  /** Takes these characters if they are next. */
  accept(text: string): boolean {
    if (!this.isNext(text)) return false;
    this.#at += text.length;
    return true;
  }

  /** @throws IospanError when something else is next. */
  expect(text: string, after: string): void {
    if (!this.accept(text)) this.fail(`expected ${text} after ${after}, found ${this.#next}`);
  }

  /** Takes what the sticky expression matches. */
  match(pattern: RegExp): RegExpExecArray | undefined {
    this.#skip();
    return this.#matchHere(pattern);
  }

  /** Something else was expected. */
  unexpected(expected: string, hint?: string): never {
    return this.fail(`expected ${expected}, found ${this.#next}`, undefined, hint);
  }

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` with the place and the path of the innermost open node. */
  fail(problem: string, place: Place = this.place, hint: string = DEFAULT_HINT): never {
    const [, ...names] = this.#names;
    const node = this.#names.length === 0 ? "" : ` (/${names.join("/")})`;
    throw deviceTreeError(`${describePlace(place)}${node}`, problem, hint);
  }

  get #next(): string {
    this.#skip();
    const [word = ""] = /^(?:[\w,.+*#?@-]+|\/[\w-]+\/|"[^"\n]*"?|&[\w{}@/,-]*|[^\s])?/.exec(
      this.#file.text.slice(this.#at, this.#at + 60),
    ) ?? [""];
    return word === "" ? "the end of the file" : word;
  }

  #matchHere(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#file.text) ?? undefined;
    if (found !== undefined) this.#at = pattern.lastIndex;
    return found;
  }

  /** White space, comments and line markers; goes into included files, and out of them. */
  #skip(): void {
    while (this.#matchHere(/\s+/y) !== undefined || this.#skipMarker() || this.#skipComment() || this.#changeFile());
  }

  #changeFile(): boolean {
    if (this.#at >= this.#file.text.length) return this.#leaveFile();
    const include = this.#matchHere(INCLUDE);
    if (include === undefined) return false;
    this.#enterFile(include[1] ?? "");
    return true;
  }

  #skipComment(): boolean {
    const { text } = this.#file;
    const isLine = text.startsWith("//", this.#at);
    if (!isLine && !text.startsWith("/*", this.#at)) return false;
    const end = isLine ? text.indexOf("\n", this.#at) : text.indexOf("*/", this.#at + 2);
    if (end < 0 && !isLine) this.#failHere("a comment has no end");
    this.#at = end < 0 ? text.length : isLine ? end : end + 2;
    return true;
  }

  /** What cpp leaves; what is for cpp is refused. */
  #skipMarker(): boolean {
    const { text } = this.#file;
    if (text[this.#at] !== "#") return false;
    if (!this.#isFirstOnLine) return false;
    const end = text.indexOf("\n", this.#at);
    const line = text.slice(this.#at, end < 0 ? text.length : end);
    const [directive] = DIRECTIVE.exec(line) ?? [];
    if (directive !== undefined) this.#failHere(`${directive} is for cpp, which has not seen the file`, CPP_HINT);
    if (!LINE_MARKER.test(line)) return false;
    this.#at += line.length;
    return true;
  }

  /** Looks no further back than the last character that is not blank: a file may be one line. */
  get #isFirstOnLine(): boolean {
    const { text } = this.#file;
    let before = this.#at - 1;
    while (before >= 0 && text[before] !== "\n" && /\s/.test(text[before] ?? "")) before--;
    return before < 0 || text[before] === "\n";
  }

  #enterFile(name: string): void {
    if (this.#include === undefined) {
      const hint = "let dtc resolve it: dtc -I dts -O dts board.dts -o whole.dts";
      this.#failHere(`/include/ "${name}" names another file, and there is only this text`, hint);
    }
    if (this.#outer.length >= MAX_INCLUDES) this.#failHere(`/include/ "${name}" is nested ${MAX_INCLUDES} deep`);
    this.#outer.push({ file: this.#file, at: this.#at });
    this.#file = { name, text: this.#read(name) };
    this.#at = 0;
  }

  #read(name: string): string {
    try {
      return this.#include?.(name) ?? "";
    } catch (cause) {
      if (cause instanceof IospanError) throw cause;
      return this.#failHere(`/include/ "${name}": ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  }

  #leaveFile(): boolean {
    const outer = this.#outer.pop();
    if (outer === undefined) return false;
    this.#file = outer.file;
    this.#at = outer.at;
    return true;
  }

  #failHere(problem: string, hint?: string): never {
    return this.fail(problem, { file: this.#file, offset: this.#at }, hint);
  }
}
