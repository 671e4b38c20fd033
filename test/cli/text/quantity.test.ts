import { describe, expect, it } from "vitest";
import { bytes, bytesPerSecond, counted, listed } from "../../../src/cli/text/quantity.js";

describe("quantities", () => {
  it.each([
    [0, "0 bytes"],
    [1023, "1023 bytes"],
    [4096, "4 KiB"],
    [1.5 * 2 ** 20, "1.5 MiB"],
    [2 ** 50, "1024 TiB"],
  ])("%d bytes are %s", (count, text) => expect(bytes(count)).toBe(text));

  it.each([
    [20_480, "20.5 kB/s"],
    [999.9e6, "1 GB/s"],
    [7_834_000_000, "7.83 GB/s"],
    [16e9, "16 GB/s"],
  ])("%d bytes per second are %s", (rate, text) => expect(bytesPerSecond(rate)).toBe(text));

  it("count and list", () => {
    expect([counted(1, "page"), counted(2, "page")]).toEqual(["1 page", "2 pages"]);
    expect([listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])]).toEqual([
      "",
      "a",
      "a and b",
      "a, b and c",
    ]);
  });
});
