import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hex, iova } from "../src/iova.js";
import { errorOf } from "./support/errors.js";

const LAST = 2n ** 64n - 1n;

describe("iova", () => {
  it("takes every 64-bit integer as it is", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, LAST), (value) => {
        expect(iova(value)).toBe(value);
      }),
    );
    expect([iova(0n), iova(LAST)]).toEqual([0n, LAST]);
  });

  it("makes a bigint of a safe number", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(iova(value)).toBe(BigInt(value));
      }),
    );
    expect(iova(-0)).toBe(0n);
  });

  it.each([
    -1n,
    LAST + 1n,
    -1,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 53, // may have been 2^53 + 1
  ])("refuses %s and shows it", (value) => {
    const error = errorOf(() => iova(value));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.message).toContain(`${value} is not an IOVA`);
  });
});

describe("what is no IOVA", () => {
  it.each([
    ["0x1000", /^"0x1000" is not an IOVA \(.*\) but of type string$/, /BigInt\(text\)/],
    [undefined, /of type undefined$/, /bigint or a number/],
    [Symbol("at"), /of type symbol$/, /bigint or a number/],
    [2 ** 60, /^1152921504606847000 is not an IOVA/, /exact below 2\^53.*bigint/],
    [-4096, /^-4096 is not/, /in that range/],
    [2n ** 64n, /^18446744073709551616 is not/, /in that range/],
    [0.5, /^0.5 is not/, /integer/],
  ])("%o: is told what to pass", (value, message, hint) => {
    // The types rule some out; programs in JavaScript do not have them.
    const error = errorOf(() => Reflect.apply(iova, undefined, [value]));
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });
});

describe("hex", () => {
  it("reads back as the number it was made of", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, LAST), (value) => {
        expect(BigInt(hex(value))).toBe(value);
      }),
    );
    expect([hex(255), hex(0n), hex(LAST)]).toEqual(["0xff", "0x0", "0xffffffffffffffff"]);
  });
});
