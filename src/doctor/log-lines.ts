/** How many lines of a log are shown as evidence. */
const MOST_SHOWN = 3;

/** Lines of a log that a pattern is found in, the last ones; none where there is no log. */
export function lastLines(log: readonly string[] | undefined, pattern: RegExp): readonly string[] {
  return (log ?? []).filter((line) => pattern.test(line)).slice(-MOST_SHOWN);
}

/** A pattern for text as it is. */
export function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
