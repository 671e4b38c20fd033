import { STANDARD_WIDTH } from "./output-width.js";

/** How a piece of text stands out. */
export const styles = ["plain", "strong", "faint", "good", "bad", "notice", "name"] as const;
export type Style = (typeof styles)[number];

/** A piece of text in one style. */
export interface Span {
  readonly text: string;
  readonly style: Style;
}

/** One line of output, without its end. */
export type Line = readonly Span[];

/**
 * Columns that no line of the standard output is longer than. A process has one standard output, so that the command line
 * says once, when it starts, how wide that is.
 */
export let WIDTH: number = STANDARD_WIDTH;

/** Lays out lines for an output of so many columns from now on. @param columns see `outputWidth()` */
export function setWidth(columns: number): void {
  WIDTH = columns;
}

/** A line of pieces; strings are plain. */
export function line(...pieces: readonly (Span | string)[]): Line {
  return pieces.map((piece) => (typeof piece === "string" ? { text: piece, style: "plain" as const } : piece));
}

/** Text that matters: titles. */
export const strong = (text: string): Span => ({ text, style: "strong" });
/** Text that explains, to be read second. */
export const faint = (text: string): Span => ({ text, style: "faint" });
/** What went as it should. */
export const good = (text: string): Span => ({ text, style: "good" });
/** What did not. */
export const bad = (text: string): Span => ({ text, style: "bad" });
/** What is to be noticed, and is neither. */
export const notice = (text: string): Span => ({ text, style: "notice" });
/** Names of devices, IOMMUs and system calls. */
export const name = (text: string): Span => ({ text, style: "name" });
