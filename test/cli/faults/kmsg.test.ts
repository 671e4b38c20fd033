import { describe, expect, it } from "vitest";
import { type Kmsg, kmsgChunks } from "../../../src/cli/faults/kmsg.js";
import { linesOf } from "../../../src/cli/faults/lines.js";
import { collected } from "../support/collected.js";

/** What reading comes to, call by call: a record, or the code that it is refused with; then EAGAIN for good. */
class Records implements Kmsg {
  closed = false;
  readonly answers: string[];

  constructor(...answers: readonly string[]) {
    this.answers = [...answers];
  }

  read(into: Uint8Array): number {
    const answer = this.answers.shift() ?? "EAGAIN";
    if (/^E[A-Z]+$/.test(answer)) throw Object.assign(new Error(answer), { code: answer, syscall: "read" });
    return new TextEncoder().encodeInto(answer, into).written;
  }

  close(): void {
    this.closed = true;
  }
}

const once = () => ({ follow: false, signal: new AbortController().signal });

describe("/dev/kmsg", () => {
  it("gives its records to the last there is, and is closed", async () => {
    const kmsg = new Records("6,1,2,-;one\n SUBSYSTEM=platform\n", "EPIPE", "6,9,3,-;two\n");
    expect(await collected(linesOf(kmsgChunks(kmsg, once()), once()))).toEqual([
      "6,1,2,-;one",
      " SUBSYSTEM=platform",
      "6,9,3,-;two",
    ]);
    expect(kmsg.closed).toBe(true);
  });

  it("is waited for when it is followed, until the signal", async () => {
    const end = new AbortController();
    const options = { follow: true, signal: end.signal };
    const kmsg = new Records("6,1,2,-;one\n", "EAGAIN", "EAGAIN", "6,2,3,-;two\n");
    const lines: (string | undefined)[] = [];
    for await (const line of linesOf(kmsgChunks(kmsg, options), options)) {
      if (line !== undefined || lines.at(-1) !== undefined) lines.push(line);
      if (lines.includes("6,2,3,-;two")) end.abort();
    }
    expect(lines).toEqual(["6,1,2,-;one", undefined, "6,2,3,-;two"]);
    await expect.poll(() => kmsg.closed).toBe(true);
  });

  it("fails with what the system has against it", async () => {
    const kmsg = new Records("EINVAL");
    await expect(collected(kmsgChunks(kmsg, once()))).rejects.toThrow("EINVAL");
    expect(kmsg.closed).toBe(true);
  });
});
