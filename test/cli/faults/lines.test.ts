import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Chunk, linesOf } from "../../../src/cli/faults/lines.js";
import { collected } from "../support/collected.js";

const once = { follow: false, signal: new AbortController().signal };

async function* chunksOf(...chunks: readonly Chunk[]): AsyncGenerator<Chunk> {
  yield* chunks;
}

describe("a log's lines", () => {
  it("are the same wherever the text is cut, also within a character", async () => {
    const text = fc
      .array(fc.string({ unit: "grapheme" }).map((each) => each.replace(/[\n\ufeff]/g, " ")))
      .map((all) => all.join("\n"));
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 1, max: 7 }), async (whole, size) => {
        const bytes = new TextEncoder().encode(whole);
        const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
          bytes.subarray(index * size, (index + 1) * size),
        );
        const lines = await collected(linesOf(chunksOf(...parts), once));
        expect(lines).toEqual(whole === "" ? [] : whole.replace(/\n$/, "").split("\n"));
      }),
    );
  });

  it("are cut off where no log's are that long", async () => {
    const [line = ""] = await collected(linesOf(chunksOf("x".repeat(100_000), "y", "\n"), once));
    expect(line.length).toBeLessThan(70_000);
  });

  it("have pauses between them when the log is followed", async () => {
    async function* slow(): AsyncGenerator<Chunk> {
      yield "one\n";
      await new Promise((resolve) => setTimeout(resolve, 400));
      yield "two\n";
    }
    const options = { follow: true, signal: new AbortController().signal };
    expect(await collected(linesOf(slow(), options))).toEqual(["one", undefined, "two"]);
  });

  it("end with the signal, although more may come", async () => {
    const end = new AbortController();
    async function* endless(): AsyncGenerator<Chunk> {
      yield "one\n";
      await new Promise(() => {});
    }
    setTimeout(() => end.abort(), 50);
    const lines = await collected(linesOf(endless(), { follow: true, signal: end.signal }));
    expect(lines.filter((line) => line !== undefined)).toEqual(["one"]);
  });
});
