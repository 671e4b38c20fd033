import { stripVTControlCharacters } from "node:util";
import { describe, expect, it } from "vitest";
import { watch } from "../../../src/cli/topology/watch.js";

/** What is written while these texts are shown one after the other. */
async function written(texts: readonly string[], isTTY: boolean): Promise<readonly string[]> {
  const stop = new AbortController();
  const out: string[] = [];
  const left = [...texts];
  const show = () => {
    const text = left.shift() ?? "";
    if (left.length === 0) stop.abort();
    return text;
  };
  await watch(show, { isTTY, write: (text) => out.push(text) }, { signal: stop.signal, periodMs: 1 });
  return out;
}

describe("watching", () => {
  it("writes what has changed, once", async () => {
    expect(await written(["a", "a", "b", "b", "a"], false)).toEqual(["a", "b", "a"]);
  });

  it("clears a terminal before", async () => {
    const out = await written(["a", "b"], true);
    expect(out.map(stripVTControlCharacters)).toEqual(["a", "b"]);
    expect(out.every((text) => text.startsWith("\u001b[H"))).toBe(true);
  });

  it("does nothing once it is over, and lets errors through", async () => {
    const signal = AbortSignal.abort();
    const never = () => {
      throw new Error("not asked for");
    };
    await watch(never, { write: () => {} }, { signal });
    await expect(watch(never, { write: () => {} })).rejects.toThrow("not asked for");
  });
});
