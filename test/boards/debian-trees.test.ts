import { describe, expect, it } from "vitest";
import { choosePackage, PACKAGE } from "../../boards/debian-trees.js";

describe("the package of device trees", () => {
  const others = [
    "linux-base",
    "linux-base-arm64",
    "linux-base-7.2.9+deb13-arm64",
    "linux-base-7.2.12+deb13-arm64",
    "linux-base-7.2.13+deb13-arm64-16k",
    "linux-base-7.2.13+deb13-rt-arm64",
    "linux-base-9.9.9+deb13-cloud-arm64",
    "linux-base-9.9.9+deb13-amd64",
  ];

  it("is the one that the totals are of, wherever there is a newer one", () => {
    expect(choosePackage([...others, "linux-base-99.1+deb13-arm64", PACKAGE], "trixie")).toBe(PACKAGE);
  });

  it("is else the newest of its kind, by its numbers", () => {
    expect(choosePackage(others, "trixie")).toBe("linux-base-7.2.12+deb13-arm64");
    expect(choosePackage([...others].reverse(), "trixie")).toBe("linux-base-7.2.12+deb13-arm64");
    expect(choosePackage([...others, "linux-base-10.1-arm64"], "trixie")).toBe("linux-base-10.1-arm64");
  });

  it("may not be there", () => {
    expect(() => choosePackage(["linux-base", "linux-base-arm64"], "trixie")).toThrow(
      "Debian trixie has no package of device trees (linux-base-*-arm64)",
    );
  });
});
