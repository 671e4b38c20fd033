import { type Line, line, name, type Span, strong, WIDTH } from "../text/line.js";
import { wrap } from "../text/wrap.js";

/**
 * The Markdown of docs/doctor.md for a terminal: headings, paragraphs, lists, `code` and fenced blocks. It is not for other
 * documents.
 */
export function renderPage(markdown: string): readonly Line[] {
  const lines: Line[] = [];
  let isCode = false;
  for (const block of blocksOf(markdown)) {
    if (block.startsWith("```")) isCode = !isCode;
    else if (isCode) lines.push(line("    ", name(block)));
    else lines.push(...renderBlock(block));
  }
  return lines;
}

/** Lines of code as they are; elsewhere lines of one paragraph or item joined. */
function blocksOf(markdown: string): readonly string[] {
  const blocks: string[] = [];
  let isCode = false;
  for (const text of markdown.split("\n")) {
    const isFence = text.startsWith("```");
    const last = blocks.at(-1);
    const goesOn =
      !isCode && !isFence && /^\s*[^\s#\-`]|^\s*`[^`]/.test(text) && last !== undefined && /^[^#`]|^`[^`]/.test(last);
    if (goesOn) blocks[blocks.length - 1] = `${last} ${text.trim()}`;
    else blocks.push(text);
    if (isFence) isCode = !isCode;
  }
  return blocks;
}

function renderBlock(text: string): readonly Line[] {
  if (text === "") return [[]];
  const [, heading] = /^#+ (.*)$/.exec(text) ?? [];
  if (heading !== undefined) return [line(strong(heading))];
  const [, marker = ""] = /^(- )/.exec(text) ?? [];
  return wrap(line(...spans(text)), WIDTH, marker.length);
}

/** `code` and **emphasis**. */
function spans(text: string): readonly (Span | string)[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return name(part.slice(1, -1));
    return part.startsWith("**") ? strong(part.slice(2, -2)) : part;
  });
}
