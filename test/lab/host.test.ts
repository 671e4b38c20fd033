import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Host, LabError } from "../../lab/host.js";

const host = new Host(new AbortController().signal);

it("misses tools that are not on the path, and files, all at once", async () => {
  await expect(host.need(["sh", "/bin/sh"])).resolves.toBeUndefined();
  const missing = host.need(["sh", "no-such-tool", "/no/such/header.h"]);
  await expect(missing).rejects.toThrow(/: no-such-tool, \/no\/such\/header\.h\n {2}apt-get install/);
});

it("logs all that a tool printed, on stdout and stderr, in every run", async () => {
  const folder = mkdtempSync(join(tmpdir(), "iospan-lab-test-"));
  try {
    const log = join(folder, "tool.log");
    await host.run("sh", ["-c", "echo one; echo two >&2"], { log });
    await expect(host.run("sh", ["-c", "echo three; exit 2"], { log })).rejects.toBeInstanceOf(LabError);
    expect(readFileSync(log, "utf8").split("\n").sort()).toEqual(["", "one", "three", "two"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
