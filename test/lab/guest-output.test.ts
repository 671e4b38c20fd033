import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { HeldOutput } from "../../lab/guest-output.js";

describe("output that is held", () => {
  it("comes when it is told to, each stream's on its own, once", async () => {
    const held = new HeldOutput();
    held.stdout.write("one ");
    held.stderr.write("wrong ");
    held.stdout.write("two");
    const to = { stdout: new PassThrough(), stderr: new PassThrough() };
    expect(to.stdout.readableLength).toBe(0);
    held.tell(to);
    held.tell(to);
    to.stdout.end();
    to.stderr.end();
    expect(await text(to.stdout)).toBe("one two");
    expect(await text(to.stderr)).toBe("wrong ");
  });
});
