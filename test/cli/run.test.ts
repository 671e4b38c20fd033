import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bugFailure } from "../../src/cli/failure.js";
import { packageFile } from "../../src/cli/package-files.js";
import { run } from "../../src/cli/run.js";
import { capture } from "./support/captured.js";

const { version } = JSON.parse(readFileSync(packageFile("package.json"), "utf8"));

describe("iospan", () => {
  it("shows help when it is asked for nothing", async () => {
    const { exitCode, stdout, stderr } = await capture([]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("Usage: iospan [options] [command]");
    expect(stdout).toContain("demo");
    expect(stderr).toBe("");
  });

  it.each([["--help"], ["-h"], ["help"]])("shows help for %s", async (flag) => {
    const { exitCode, stdout } = await capture([flag]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("Usage: iospan");
  });

  it.each([[["--version"]], [["-V"]]])("tells its version for %s", async (argv) => {
    expect(await capture(argv)).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
  });

  it.each([[["demo", "--help"]], [["help", "demo"]]])("shows a command's options and examples for %s", async (argv) => {
    const { exitCode, stdout, stderr } = await capture(argv);
    expect(exitCode).toBe(0);
    for (const part of [
      "--approach",
      "--chip",
      "--release",
      "--trace",
      "--json",
      "Exit code",
      "Examples",
      "dual-smmu",
    ]) {
      expect(stdout).toContain(part);
    }
    expect(stderr).toBe("");
    for (const line of stdout.split("\n")) expect([...line].length, line).toBeLessThanOrEqual(80);
  });

  it("colours help on terminals only", async () => {
    expect((await capture(["--help"])).stdout).not.toContain("\u001b");
    expect((await capture(["--help"], { terminal: true })).stdout).toContain("\u001b[1m");
    expect((await capture(["--help"], { terminal: true, env: { NO_COLOR: "1" } })).stdout).not.toContain("\u001b");
  });
});

describe("wrong usage", () => {
  const cases: readonly (readonly [argv: readonly string[], message: string, hint: string])[] = [
    [["frobnicate"], "unknown command 'frobnicate'", "--help"],
    [["dmo"], "unknown command 'dmo'", "Did you mean demo?"],
    [["--frobnicate"], "unknown option '--frobnicate'", "--help"],
    [["demo", "--trase"], "unknown option '--trase'", "Did you mean --trace?"],
    [["demo", "--foo"], "unknown option '--foo'", "iospan demo --help"],
    [["help", "nope"], "unknown command 'nope'", "iospan --help"],
    [["help", "dmo"], "unknown command 'dmo'", "Did you mean demo?"],
    [["demo", "now"], "too many arguments", "--help"],
    [["demo", "--chip"], "argument missing", "--help"],
    [["demo", "--approach", "magic"], '--approach does not take "magic"', "it takes "],
    [["demo", "--approach", "mirored"], '"mirored"; did you mean mirrored?', "it takes "],
    [["demo", "--approach", ""], '--approach does not take ""', "it takes "],
    [["demo", "--release", "2.6"], '--release does not take "2.6"', "it takes 5.10, 6.1"],
    [["topology", "--format", "svgg"], '--format does not take "svgg"; did you mean svg?', "it takes tree, json"],
    [["demo", "--chip", "no-such.dts"], "cannot read the device tree no-such.dts: there is no such file", "dual-smmu"],
    [["demo", "--chip", "src"], "cannot read the device tree src: it is not a file", "dual-smmu"],
  ];

  it.each(cases)("%j is told in a line, with a hint", async (argv, message, hint) => {
    const { exitCode, stdout, stderr } = await capture(argv);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    const [error = "", help = ""] = stderr
      .replace(/\n {7}/g, " ")
      .trimEnd()
      .split("\n");
    expect(error).toMatch(/^error: /);
    expect(error).toContain(message);
    expect(help).toMatch(/^hint: /);
    expect(help).toContain(hint);
    for (const line of stderr.split("\n")) expect([...line].length).toBeLessThanOrEqual(80);
  });

  it.each(cases)("%j is JSON with --json", async (argv, message, hint) => {
    const { exitCode, stdout, stderr } = await capture([argv[0]!, "--json", ...argv.slice(1)]);
    expect(exitCode).toBe(2);
    expect(stderr).toBe("");
    const { error } = JSON.parse(stdout);
    expect(Object.keys(error)).toEqual(["code", "message", "hint"]);
    expect(error.code).toMatch(/^ERR_IOSPAN_/);
    expect(error.message).toContain(message);
    expect(error.hint).toContain(hint);
  });
});

describe("a wrong choice of an argument", () => {
  it("is told as that of an option is", async () => {
    const { exitCode, stderr } = await capture(["completion", "bsh"]);
    expect(exitCode).toBe(2);
    expect(stderr).toBe(
      'error: iospan completion takes no shell "bsh"; did you mean bash or zsh?\nhint:  it takes bash, zsh, fish\n',
    );
  });
});

describe("a bug of iospan's", () => {
  const broken = (error: unknown) => {
    const stream = () => {
      const written: string[] = [];
      return { write: (text: string) => written.push(text), text: () => written.join("") };
    };
    const [stdout, stderr] = [stream(), stream()];
    // What is asked for first, and not guarded, is the environment.
    let asked = 0;
    const hurt = (env: Readonly<Record<string, string>>) =>
      new Proxy(env, {
        get: (target, key: string) => {
          if (key === "COLUMNS" && asked++ === 0) return "";
          if (key === "NO_COLOR" && stdout.text() === "" && asked++ === 1) throw error;
          return target[key];
        },
      });
    return { stdout, stderr, hurt };
  };

  it("is told in a line, with its own exit code, and its trace for those who ask", async () => {
    const bug = new TypeError("x is not a function");
    const { stdout, stderr, hurt } = broken(bug);
    expect(await run(["topology", "-t", "dual-smmu"], { stdout, stderr, env: hurt({}) })).toBe(70);
    expect(stderr.text()).toContain("error: iospan did what it must not: TypeError: x is not a function");
    expect(stderr.text().replace(/\n {7}/g, " ")).toContain("IOSPAN_DEBUG=1");
    expect(stderr.text()).not.toContain(" at ");
    const traced = broken(bug);
    expect(await run(["topology", "-t", "dual-smmu"], { ...traced, env: traced.hurt({ IOSPAN_DEBUG: "1" }) })).toBe(70);
    expect(traced.stderr.text()).toMatch(/^ +at .*run\.test\.ts/m);
  });

  it("is JSON with --json, and not a failure to write", () => {
    expect(bugFailure(new Error("a\nb"), {})).toMatchObject({
      code: "ERR_IOSPAN_BUG",
      message: "iospan did what it must not: Error: a",
    });
    expect(bugFailure("text", { IOSPAN_DEBUG: "0" }).message).toBe("iospan did what it must not: text");
  });
});
