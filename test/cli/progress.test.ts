import { afterEach, describe, expect, it, vi } from "vitest";
import { Progress } from "../../src/cli/progress.js";

function terminal(isTTY = true, columns = 80) {
  const written: string[] = [];
  return { isTTY, columns, write: (text: string) => written.push(text), written };
}

/** Lets milliseconds pass on the clock that a progress looks at. */
function clock() {
  const now = vi.spyOn(performance, "now").mockReturnValue(1000);
  return (milliseconds: number) => now.mockReturnValue(1000 + milliseconds);
}

afterEach(() => vi.restoreAllMocks());

describe("a progress line", () => {
  it("is not shown for what is over soon", async () => {
    const [at, stream] = [clock(), terminal()];
    const progress = new Progress(stream, {});
    at(499);
    await progress.say("building");
    progress.done();
    expect(stream.written).toEqual([]);
  });

  it("is shown after half a second, replaced, and taken away", async () => {
    const [at, stream] = [clock(), terminal()];
    const progress = new Progress(stream, {});
    at(500);
    await progress.say("building");
    await progress.say("copying");
    progress.done();
    progress.done();
    expect(stream.written).toEqual(["\r\u001b[2Kbuilding …", "\r\u001b[2Kcopying …", "\r\u001b[2K"]);
  });

  it("does not wrap in a narrow terminal", async () => {
    const [at, stream] = [clock(), terminal(true, 10)];
    const progress = new Progress(stream, {});
    at(1000);
    await progress.say("a long story");
    expect(stream.written[0]?.slice("\r\u001b[2K".length).length).toBeLessThan(10);
  });

  it("is not shown on a terminal that cannot erase it", async () => {
    const [at, stream] = [clock(), terminal()];
    const progress = new Progress(stream, { TERM: "dumb" });
    at(5000);
    await progress.say("building");
    progress.done();
    expect(stream.written).toEqual([]);
  });

  it("never reaches a file", async () => {
    const [at, stream] = [clock(), terminal(false)];
    const progress = new Progress(stream, {});
    at(5000);
    await progress.say("building");
    progress.done();
    expect(stream.written).toEqual([]);
  });
});
