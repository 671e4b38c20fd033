import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";
import { capture } from "./support/captured.js";

/** The lines of a sample, but for those that say that some are left out. */
const linesOf = (sample: string) => sample.split("\n").filter((line) => line.trim() !== "…" && line !== "");

const readme = readFileSync(packageFile("README.md"), "utf8");

describe("the README's demo", () => {
  it("is what the command prints, in part", async () => {
    const [, sample = ""] = /npx iospan demo\n```\n.*?```\n(.*?)```/s.exec(readme) ?? [];
    const shown = linesOf(sample);
    expect(shown.length).toBeGreaterThan(10);
    const printed = (await capture(["demo"])).stdout.split("\n");
    const inPart = printed.filter((line) => shown.includes(line));
    expect([...new Set(inPart)]).toEqual(shown);
  });
});

describe("the README's plan", () => {
  it("is what the command prints, in part", async () => {
    const [, sample = ""] = /npx iospan plan --device-tree dual-smmu 01:00.0 dma-port\n(.*?)```/s.exec(readme) ?? [];
    const shown = linesOf(sample);
    expect(shown.length).toBeGreaterThan(5);
    const words = ["plan", "--device-tree", "dual-smmu", "01:00.0", "dma-port"];
    const printed = (await capture(words, { columns: 80 })).stdout.split("\n");
    expect(printed.filter((line) => shown.includes(line))).toEqual(shown);
  });
});

describe("the README's doctor", () => {
  it("is the one of its page, in part", () => {
    const [, sample = ""] = /```\n(\$ sudo iospan doctor .*?)```/s.exec(readme) ?? [];
    const shown = linesOf(sample);
    expect(shown.length).toBeGreaterThan(5);
    const page = readFileSync(packageFile("docs/doctor.md"), "utf8").split("\n");
    expect(page.filter((line) => shown.includes(line))).toEqual(shown);
  });
});

describe("the README's picture", () => {
  it("is what the command draws", async () => {
    const [, sample = ""] = /```mermaid\n(.*?)```/s.exec(readme) ?? [];
    const words = ["topology", "--device-tree", "dual-smmu", "--format", "mermaid"];
    expect((await capture(words)).stdout).toBe(sample);
  });
});
