/** A file of source text. */
export interface SourceFile {
  /** As it is called in messages; the text handed over has none. */
  readonly name: string | undefined;
  readonly text: string;
}

/** A place in a file. */
export interface Place {
  readonly file: SourceFile;
  /** In UTF-16 units from the beginning. */
  readonly offset: number;
}

/** What cpp leaves of `#include`: `# 12 "board.dtsi" 2`. */
export const LINE_MARKER: RegExp = /^[ \t]*#(?:[ \t]*line)?[ \t]+(\d+)[ \t]+"([^"\n]*)"/;

/** `board.dts:12:5`, line and column counted from 1; without a name, `line 12, column 5`. Follows cpp's line markers. */
export function describePlace({ file, offset }: Place): string {
  const lines = file.text.slice(0, offset).split("\n");
  const column = (lines.at(-1)?.length ?? 0) + 1;
  const marker = lines.findLastIndex((line) => LINE_MARKER.test(line));
  const [, number, name = file.name] = LINE_MARKER.exec(lines[marker] ?? "") ?? [];
  const line = number === undefined ? lines.length : Number(number) + lines.length - marker - 2;
  return name === undefined ? `line ${line}, column ${column}` : `${name}:${line}:${column}`;
}
