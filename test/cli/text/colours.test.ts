import { describe, expect, it } from "vitest";
import { painter, wantsColours } from "../../../src/cli/text/colours.js";
import { good, line } from "../../../src/cli/text/line.js";

const TERMINAL = { isTTY: true };
const FILE = {};

describe("colours", () => {
  it.each([
    ["a terminal", TERMINAL, {}, true],
    ["a file", FILE, {}, false],
    ["a file in CI", FILE, { CI: "1" }, false],
    ["NO_COLOR", TERMINAL, { NO_COLOR: "1" }, false],
    ["an empty NO_COLOR", TERMINAL, { NO_COLOR: "" }, true],
    ["FORCE_COLOR", FILE, { FORCE_COLOR: "1" }, true],
    ["FORCE_COLOR=0", TERMINAL, { FORCE_COLOR: "0" }, false],
    ["both", TERMINAL, { NO_COLOR: "1", FORCE_COLOR: "1" }, false],
    ["a dumb terminal", { isTTY: true }, { TERM: "dumb" }, false],
  ])("%s", (_, stream, env, expected) => {
    expect(wantsColours(stream, env)).toBe(expected);
  });

  it("are written only where they are wanted", () => {
    expect(painter(false)(line(good("ok"), " then"))).toBe("ok then");
    expect(painter(true)(line(good("ok"), " then"))).toBe("\u001b[32mok\u001b[39m then");
  });

  it("cannot be smuggled in with a name", () => {
    expect(painter(true)(line("a\u001b[31mb\nc\u009b"))).toBe("a\ufffd[31mb\ufffdc\ufffd");
  });
});
