import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Command, Option } from "commander";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { commandLine } from "../../src/cli/command-line.js";
import { capture } from "./support/captured.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-garbage-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(path.join(folder, name), content);
  return path.join(folder, name);
}

const unreadable = file("unreadable", "secret");
chmodSync(unreadable, 0);
mkdirSync(path.join(folder, "sysfs", "bus"), { recursive: true });
const noise = Uint8Array.from({ length: 5000 }, (_, index) => (index * index * 31 + 7) & 0xff);

/** What nobody should name, and what one may. */
const FILES: readonly string[] = [
  folder,
  path.join(folder, "sysfs"),
  path.join(folder, "no-such"),
  unreadable,
  file("empty", ""),
  file("noise.bin", noise),
  file("noise.dtb", Uint8Array.from([0xd0, 0x0d, 0xfe, 0xed, ...noise])),
  file("half.json", '{"format":"iospan-machine","version":1,'),
  file("other.json", '{"format":"iospan-machine","version":1,"files":[],"links":7}'),
  file("list.json", "[]"),
  file("source.dts", "/dts-v1/; / { soc { iommus = <&nowhere 1>; }; };"),
  file("deep.dts", `/dts-v1/; ${"a { ".repeat(5000)}`),
  file("IORT.bin", Uint8Array.from([...Buffer.from("IORT"), 48, 0, 0, 0, ...noise.subarray(0, 40)])),
  file("log.txt", "arm-smmu-v3 x: event 0x10 received:\narm-smmu-v3 x: \t0x0000020000000010\n"),
  "/dev/null",
  "/proc/self/mem",
  "dual-smmu",
];

const WORDS = [
  "",
  "engine",
  "0000:00:01.0",
  "01:00.0",
  "nope",
  "--",
  "--nope",
  "-x",
  "--json=1",
  "\u001b[31m",
  "🎺",
  "__complete",
];

const nowhere = { write: () => {} };
const program = commandLine({ stdout: nowhere, stderr: nowhere, env: {} }, () => {});
/** What does not end by itself, writes a file, or changes the machine. */
const LEFT_OUT = ["--follow", "--watch", "--save", "--force", "--load", "--persist", "--state"];

function optionWords({ long, short, argChoices, required, optional }: Option): fc.Arbitrary<readonly string[]> {
  const flag = fc.constantFrom(...[long, short].filter((each) => each != null));
  const value = fc.constantFrom(...(argChoices ?? []), ...FILES, ...WORDS);
  if (!required && !optional) return flag.map((each) => [each]);
  return fc.oneof(
    fc.tuple(flag, value),
    fc.tuple(flag, value).map(([each, text]) => [`${each}=${text}`]),
    flag.map((each) => [each]),
  );
}

function commandWords(command: Command): fc.Arbitrary<readonly string[]> {
  const options = command.options.filter(({ long }) => long == null || !LEFT_OUT.includes(long));
  const parts = fc.oneof(
    { weight: 3, arbitrary: fc.oneof(...options.map(optionWords), fc.constant(["--help"])) },
    { weight: 1, arbitrary: fc.constantFrom(...FILES, ...WORDS).map((word) => [word]) },
  );
  // What binds and unbinds may only say what it would do.
  const dry = options.some(({ long }) => long === "--dry-run") ? ["--dry-run"] : [];
  return fc.array(parts, { maxLength: 4 }).map((all) => [command.name(), ...dry, ...all.flat()]);
}

const commandLines = fc.oneof(
  { weight: 8, arbitrary: fc.oneof(...program.commands.map(commandWords)) },
  { weight: 1, arbitrary: fc.array(fc.constantFrom(...WORDS, "help", "-V", "demo", "--json"), { maxLength: 4 }) },
);

const STACK = /^\s+at .*[:(]/m;

describe("whatever is typed", () => {
  it("is obeyed, or refused in words with a hint", { timeout: 300_000 }, async () => {
    const seen = new Set<number>();
    const check = async (argv: readonly string[]) => {
      const { exitCode, stdout, stderr } = await capture(argv);
      seen.add(exitCode);
      expect([0, 1, 2], stderr || stdout).toContain(exitCode);
      expect(stdout + stderr).not.toMatch(STACK);
      expect(stdout + stderr).not.toContain("undefined");
      if (exitCode !== 2) return;
      const isJson = stdout !== "";
      const told = isJson ? JSON.parse(stdout).error : stderr;
      if (isJson) expect(Object.keys(told)).toEqual(["code", "message", "hint"]);
      else expect(told).toMatch(/^error: .+\n(?: {7}.*\n)*hint: {2}.+\n/);
    };
    await fc.assert(fc.asyncProperty(commandLines, check), { numRuns: Number(process.env["IOSPAN_RUNS"] ?? 150) });
    expect(seen).toContain(0);
    expect(seen).toContain(2);
  });
});
