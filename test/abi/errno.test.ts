import { describe, expect, it } from "vitest";
import { errno, errnoName, errnoText } from "../../src/abi/errno.js";

// That the numbers and texts are the C library's is headers.test.ts's business.
describe("errno", () => {
  it("has every number of the asm-generic ABI once, but the two it skips", () => {
    const numbers = Object.values(errno).sort((a, b) => a - b);
    const all = Array.from({ length: 133 }, (_, index) => index + 1);
    // 41 and 58 are aliases: EWOULDBLOCK and EDEADLOCK have their numbers elsewhere on this ABI.
    expect(numbers).toEqual(all.filter((number) => number !== 41 && number !== 58));
  });

  it("names what it knows and shows what it does not", () => {
    for (const [name, number] of Object.entries(errno)) expect(errnoName(number)).toBe(name);
    expect(errnoName(4711)).toBe("errno 4711");
    expect(errnoName(0)).toBe("errno 0");
    expect(errnoText(errno.EINVAL)).toBe("Invalid argument");
    expect(errnoText(errno.EBFONT)).toBe("EBFONT");
  });
});
