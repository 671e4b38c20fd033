import type { Line, Span } from "./line.js";
import { lineWidth, takeWhileFits, widthOf } from "./width.js";

/**
 * Breaks a line at spaces, so that none is wider than `width`; words that are wider are broken where they must.
 * @param indent columns that the lines after the first are moved in by.
 */
export function wrap(line: Line, width: number, indent = 0): readonly Line[] {
  if (lineWidth(line) <= width) return [line];
  const lines: Span[][] = [[]];
  let used = 0;
  for (const word of line.flatMap(words).flatMap((each) => breakUp(each, width - indent))) {
    const blank = word.text === " ";
    if (used + widthOf(word.text) > width) {
      lines.push(indent > 0 ? [{ text: " ".repeat(indent), style: "plain" }] : []);
      used = indent;
      if (blank) continue;
    }
    // The space at which the line was broken is not the next line's first.
    if (blank && lines.length > 1 && used === indent) continue;
    lines.at(-1)?.push(word);
    used += widthOf(word.text);
  }
  return lines
    .map(joinEqual)
    .map(trimEnd)
    .filter((each) => each.length > 0);
}

/** Words and the spaces between them, one by one. */
function words({ text, style }: Span): readonly Span[] {
  return (text.match(/ |[^ ]+/g) ?? []).map((part) => ({ text: part, style }));
}

function breakUp({ text, style }: Span, width: number): readonly Span[] {
  const parts: Span[] = [];
  let rest = [...text];
  while (rest.length > 0) {
    const fitting = takeWhileFits(rest, width);
    const part = fitting.length > 0 ? fitting : rest.slice(0, 1);
    parts.push({ text: part.join(""), style });
    rest = rest.slice(part.length);
  }
  return parts;
}

/** Neighbours of one style become one span. */
function joinEqual(line: Line): Line {
  const joined: Span[] = [];
  for (const span of line) {
    const last = joined.at(-1);
    if (last?.style === span.style) joined[joined.length - 1] = { ...last, text: last.text + span.text };
    else joined.push(span);
  }
  return joined;
}

/** The line without spaces at its end. */
export function trimEnd(line: Line): Line {
  const last = line.at(-1);
  if (last === undefined || !last.text.endsWith(" ")) return line;
  const text = last.text.trimEnd();
  return text === "" ? trimEnd(line.slice(0, -1)) : [...line.slice(0, -1), { ...last, text }];
}
