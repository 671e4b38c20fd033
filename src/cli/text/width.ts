import type { Line } from "./line.js";

/** What terminals show in two columns: East Asian wide characters and pictures. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const PLAIN = /^[ -~]*$/;
const COMBINING = /\p{Mark}/u;

/** Columns that a text takes on a terminal. */
export function widthOf(text: string): number {
  // Nearly all of the text there is.
  if (PLAIN.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += columnsOf(character);
  return width;
}

/** Columns that a line takes on a terminal. */
export function lineWidth(line: Line): number {
  return line.reduce((sum, { text }) => sum + widthOf(text), 0);
}

function columnsOf(character: string): number {
  if (character < "\u0300") return 1;
  if (COMBINING.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/** The text, filled up with spaces to `width` columns; longer text as it is. */
export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** The text, moved to the right of `width` columns; longer text as it is. */
export function padStart(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - widthOf(text))) + text;
}

/** The text, or as much of its two ends as `width` columns take, which is where names differ. */
export function shorten(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  const characters = [...text];
  const tail = takeWhileFits(characters.toReversed(), Math.floor((width - 1) / 2)).reverse();
  const head = takeWhileFits(characters, width - 1 - widthOf(tail.join("")));
  return `${head.join("")}…${tail.join("")}`;
}

/** As many of the first characters as `width` columns take. */
export function takeWhileFits(characters: readonly string[], width: number): string[] {
  let left = width;
  const end = characters.findIndex((character) => {
    left -= columnsOf(character);
    return left < 0;
  });
  return characters.slice(0, end < 0 ? characters.length : end);
}
