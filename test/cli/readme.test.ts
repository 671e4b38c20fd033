import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";
import { capture } from "./support/captured.js";

const readme = readFileSync(packageFile("README.md"), "utf8");

describe("the README's demo", () => {
  it("is what the command prints, in part", async () => {
    const [, sample = ""] = /npx iospan demo\n```\n.*?```\n(.*?)```/s.exec(readme) ?? [];
    const shown = sample.split("\n").filter((line) => line.trim() !== "…" && line !== "");
    expect(shown.length).toBeGreaterThan(10);
    const printed = (await capture(["demo"])).stdout.split("\n");
    const inPart = printed.filter((line) => shown.includes(line));
    expect([...new Set(inPart)]).toEqual(shown);
  });
});
