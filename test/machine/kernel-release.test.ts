import fc from "fast-check";
import { expect, it } from "vitest";
import { isBefore } from "../../src/machine/kernel-release.js";

it.each<[string, [number, number, number?], boolean]>([
  ["6.15.2", [6, 15, 3], true],
  ["6.15.3", [6, 15, 3], false],
  ["6.15", [6, 15, 3], true],
  ["6.2.9", [6, 14], true],
  ["6.12.107+deb13-arm64", [6, 13], true],
  ["6.14.0-rc1", [6, 14], false],
  ["7.0.0", [6, 15, 3], false],
  ["5.10", [5, 10], false],
])("%s before %j: %s", (release, version, expected) => {
  expect(isBefore(release, ...version)).toBe(expected);
});

it.each([undefined, "", "unknown", "six.one"])("nobody knows of %j", (release) => {
  expect(isBefore(release, 6, 1)).toBeUndefined();
});

it("orders releases as numbers", () => {
  const numbers = fc.tuple(fc.nat(9), fc.nat(30), fc.nat(300));
  const value = ([major, minor, patch]: readonly [number, number, number]) => major * 1e6 + minor * 1e3 + patch;
  fc.assert(
    fc.property(numbers, numbers, (a, b) => {
      expect(isBefore(a.join("."), ...b)).toBe(value(a) < value(b));
    }),
  );
});
