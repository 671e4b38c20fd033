import { isIP } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addressText, parseAddress, samePrefix } from "../../../src/binding/lifelines/network-address.js";

describe("parseAddress", () => {
  it.each([
    ["10.0.2.2", [10, 0, 2, 2]],
    ["::1", [...new Array<number>(15).fill(0), 1]],
    ["fe80::2%eth0", [0xfe, 0x80, ...new Array<number>(13).fill(0), 2]],
    ["::ffff:10.0.2.2", [10, 0, 2, 2]],
    ["1:2:3:4:5:6:7:8", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8]],
  ])("%s", (text, bytes) => {
    expect(parseAddress(text)).toEqual(bytes);
  });

  it.each(["", "10.0.2", "10.0.2.256", "1:2:3", "1::2::3", "1:2:3:4:5:6:7:8:9", "g::1", "1.2.3.4::"])(
    "%j is none",
    (text) => {
      expect(parseAddress(text)).toBeUndefined();
    },
  );

  it("takes what Node.js takes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.]{0,20}$/)), (text) => {
        expect(parseAddress(text) !== undefined, text).toBe(isIP(text) !== 0);
      }),
    );
  });
});

it("compares as many bits as it is told", () => {
  expect(samePrefix([192, 168, 7, 9], [192, 168, 7, 0], 24)).toBe(true);
  expect(samePrefix([192, 168, 7, 9], [192, 168, 7, 0], 29)).toBe(false);
  expect(samePrefix([192, 168, 7, 9], [192, 168, 7, 8], 31)).toBe(true);
  expect(samePrefix([1, 2, 3, 4], [9, 9, 9, 9], 0)).toBe(true);
  expect(samePrefix([1, 2, 3, 4], new Array<number>(16).fill(0), 0)).toBe(false);
});

it("writes an address so that it is read as it was", () => {
  const bytes = (length: number) =>
    fc.array(fc.oneof(fc.constant(0), fc.nat(255)), { minLength: length, maxLength: length });
  fc.assert(
    fc.property(fc.oneof(bytes(4), bytes(16)), (address) => {
      expect(isIP(addressText(address))).toBe(address.length === 4 ? 4 : 6);
      // IPv4 inside IPv6 is read as IPv4.
      fc.pre(address.length === 4 || address[10] !== 0xff);
      expect(parseAddress(addressText(address))).toEqual(address);
    }),
  );
  expect(addressText([0xfe, 0x80, ...new Array<number>(13).fill(0), 2])).toBe("fe80::2");
});
