import type { Environment } from "./colours.js";

/** Columns of what is not a terminal. */
export const STANDARD_WIDTH = 80;
/** Longer lines are hard to read, and tables lose nothing in them. */
const WIDEST = 120;
/** What is narrower wraps by itself: nothing can be laid out in it. */
const NARROWEST = 40;

/**
 * Columns that lines may have: those of the terminal, or 80 where it is none; `COLUMNS` goes before both. From 40 to 120.
 */
export function outputWidth(
  { isTTY, columns }: { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined },
  { COLUMNS = "" }: Environment,
): number {
  const told = /^[1-9]\d{0,5}$/.test(COLUMNS) ? Number(COLUMNS) : undefined;
  const shown = isTTY === true && columns !== undefined && columns > 0 ? columns : STANDARD_WIDTH;
  return Math.min(Math.max(told ?? shown, NARROWEST), WIDEST);
}
