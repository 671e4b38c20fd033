import { describe, expect, it } from "vitest";
import { padEnd, padStart, shorten, widthOf } from "../../../src/cli/text/width.js";

describe("width", () => {
  it("is a terminal's columns", () => {
    expect(["abc", "├─✓", "世界", "e\u0301"].map(widthOf)).toEqual([3, 3, 4, 1]);
  });

  it("is filled up with spaces", () => {
    expect([padEnd("世", 4), padStart("世", 4), padEnd("long", 2)]).toEqual(["世  ", "  世", "long"]);
  });

  it("is kept by leaving out the middle", () => {
    expect(shorten("9030000.dma-port", 16)).toBe("9030000.dma-port");
    expect(shorten("9030000.dma-port", 9)).toBe("9030…port");
    expect(widthOf(shorten("世界世界世界", 7))).toBeLessThanOrEqual(7);
  });
});
