import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { faint, type Line, line, strong } from "../../../src/cli/text/line.js";
import { lineWidth } from "../../../src/cli/text/width.js";
import { wrap } from "../../../src/cli/text/wrap.js";

const textOf = (each: Line) => each.map(({ text }) => text).join("");
const texts = (...args: Parameters<typeof wrap>) => wrap(...args).map(textOf);

describe("wrap", () => {
  it("leaves alone what fits", () => {
    const short = line("a ", strong("b"), "  c");
    expect(wrap(short, 6)).toEqual([short]);
  });

  it("breaks at spaces and moves in what follows", () => {
    expect(texts(line("  one two three"), 9, 4)).toEqual(["  one two", "    three"]);
    expect(texts(line("one two three"), 7)).toEqual(["one two", "three"]);
  });

  it("keeps styles on both sides of a break", () => {
    expect(wrap(line(faint("one two"), strong(" three")), 7)).toEqual([[faint("one two")], [strong("three")]]);
  });

  it("breaks words that are wider than a line", () => {
    expect(texts(line("abcdefgh"), 4, 1)).toEqual(["abc", " def", " gh"]);
  });

  it("counts wide characters twice", () => {
    expect(texts(line("世界 世界"), 5)).toEqual(["世界", "世界"]);
  });

  it("never exceeds the width, and loses nothing but spaces", () => {
    const span = fc.record({
      text: fc.string({ unit: fc.constantFrom("a", "b", " ", "世", "e\u0301", "-"), maxLength: 40 }),
      style: fc.constantFrom("plain" as const, "good" as const),
    });
    fc.assert(
      fc.property(
        fc.array(span),
        fc.integer({ min: 8, max: 30 }),
        fc.integer({ min: 0, max: 5 }),
        (spans, width, indent) => {
          const lines = wrap(spans, width, indent);
          for (const each of lines) expect(lineWidth(each)).toBeLessThanOrEqual(width);
          const bare = (text: string) => text.replaceAll(" ", "");
          expect(bare(lines.map(textOf).join(""))).toBe(bare(textOf(spans)));
        },
      ),
    );
  });
});
