import type { Syscalls } from "../../syscalls/syscalls.js";
import { traced } from "../../syscalls/traced.js";
import type { Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import { faint, type Line, line, strong } from "../text/line.js";
import { outputWidth } from "../text/output-width.js";
import { wrap } from "../text/wrap.js";
import type { ApproachName } from "./approaches.js";

const INDENT = 4;

/** Writes a line where a stage of an approach begins, among its calls. */
export function stageMarker({ stderr, env }: Streams): (what: string) => Promise<void> {
  const paint = painter(wantsColours(stderr, env));
  return async (what) => void stderr.write(`${paint(line(faint(`─ ${what}`)))}\n`);
}

/**
 * Traces to the standard error output, under a heading for each approach. Reads of sysfs are left out. A call is a line
 * of a file; on a terminal it is broken, so that its parts stay in sight.
 */
export function callTracer({ stderr, env }: Streams): (approach: ApproachName, inner: Syscalls) => Syscalls {
  const paint = painter(wantsColours(stderr, env));
  const width = outputWidth(stderr, env);
  const write = (each: Line) => void stderr.write(`${paint(each)}\n`);
  return (approach, inner) => {
    write(line(strong(`── ${approach} ${"─".repeat(width - approach.length - 4)}`)));
    return traced(inner, (text) => tracedLines(text, stderr.isTTY === true ? width : undefined).forEach(write), {
      sysfs: "writes",
    });
  };
}

/** @param width of a terminal; undefined for a file */
function tracedLines(text: string, width: number | undefined): readonly Line[] {
  return width === undefined ? [coloured(text)] : wrap(coloured(text), width, INDENT);
}

/** What matters is the call and its answer, less so the struct between them. */
function coloured(text: string): Line {
  const [, call = text, rest = "", answer = ""] = /^(\w+\((?:\d+<[^>]*>, )?\w*)(.*)( = [^=]*)$/s.exec(text) ?? [];
  const isRefused = answer.startsWith(" = -1 ");
  return line(call, faint(rest), isRefused ? { text: answer, style: "bad" } : answer);
}
