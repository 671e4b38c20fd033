import picocolors from "picocolors";
import type { Line, Style } from "./line.js";

/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Makes a line ready to be written: with colours, or without. */
export type Painter = (line: Line) => string;

/**
 * Whether to write colours to a stream: to terminals, unless `NO_COLOR` is set (https://no-color.org); elsewhere only with
 * `FORCE_COLOR`.
 */
export function wantsColours(stream: { readonly isTTY?: boolean | undefined }, env: Environment): boolean {
  const { NO_COLOR = "", FORCE_COLOR = "", TERM } = env;
  if (NO_COLOR !== "" || FORCE_COLOR === "0" || FORCE_COLOR === "false") return false;
  return FORCE_COLOR !== "" || (stream.isTTY === true && TERM !== "dumb");
}

/** The one place where styles become colours. */
export function painter(colours: boolean): Painter {
  const { bold, dim, green, red, yellow, cyan } = picocolors.createColors(colours);
  const paint: Readonly<Record<Style, (text: string) => string>> = {
    plain: (text) => text,
    strong: bold,
    faint: dim,
    good: green,
    bad: red,
    notice: yellow,
    name: cyan,
  };
  return (line) => line.map(({ text, style }) => paint[style](harmless(text))).join("");
}

/** Names come from files of the user's, and must not command the terminal. */
function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
