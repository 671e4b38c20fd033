import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What the headers in `includes` (the compiler's own when undefined) say. */
export interface Headers {
  readonly compiler: string;
  readonly includes: string | undefined;
}

const included = ["linux/vfio.h", "linux/iommufd.h"];

/** A C compiler on this machine, or undefined. */
export function findCompiler(): string | undefined {
  return [process.env["CC"], "cc", "gcc", "clang"].find(
    (name) => name !== undefined && name !== "" && spawnSync(name, ["--version"]).status === 0,
  );
}

/** Whether `#include <linux/vfio.h>` works. */
export function hasHeaders(headers: Headers): boolean {
  const test = "#include <linux/vfio.h>\n";
  return (
    spawnSync(headers.compiler, [...flagsFor(headers), "-fsyntax-only", "-x", "c", "-"], { input: test }).status === 0
  );
}

/** The version of Linux the headers are from, `7.3`. */
export function headerVersion(headers: Headers): readonly [major: number, minor: number] {
  const [major = 0, minor = 0] = evaluate(headers, ["LINUX_VERSION_CODE >> 16", "(LINUX_VERSION_CODE >> 8) & 255"]);
  return [major, minor];
}

/** The text of the headers, for what a compiler does not list. */
export function headerText(headers: Headers): string {
  const root = headers.includes ?? "/usr/include";
  return included
    .map((name) => join(root, name))
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
}

/**
 * Which of the expressions these headers know: each stands on a line of its own, and the compiler says which lines it
 * cannot compile. An error that is not about an unknown name is a mistake of ours and throws.
 */
export function knownExpressions(headers: Headers, expressions: readonly string[]): ReadonlySet<string> {
  const lines = expressions.map((expression) => `void probe(void) { (void)(${expression}); }`);
  const source = [...lines.map((line, index) => line.replace("probe", `probe${index}`)), ""].join("\n");
  const args = [...flagsFor(headers), "-fsyntax-only", "-fmax-errors=0", "-x", "c", "-"];
  const { stderr } = spawnSync(headers.compiler, args, {
    input: `${preamble()}#line 1 "probes"\n${source}`,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const errors = stderr.split("\n").filter((line) => /\berror: /.test(line));
  const unknown = new Set(errors.map(unknownLine));
  return new Set(expressions.filter((_, index) => !unknown.has(index + 1)));
}

function unknownLine(error: string): number {
  const [, line, message = ""] = /^probes:(\d+):\d+: error: (.*)$/.exec(error) ?? [];
  if (/undeclared|undefined|no member named|incomplete type/.test(message)) return Number(line);
  throw new Error(`not an unknown name: ${error}`);
}

/** The values of expressions that the headers know, from a program compiled and run. */
export function evaluate(headers: Headers, expressions: readonly string[]): readonly number[] {
  return run(
    headers,
    expressions.map((expression) => `printf("%lld\\n", (long long)(${expression}));`),
  ).map(Number);
}

/** What strerror(3) says of each number. */
export function errorTexts(headers: Headers, numbers: readonly number[]): readonly string[] {
  return run(
    headers,
    numbers.map((number) => `puts(strerror(${number}));`),
  );
}

function run(headers: Headers, statements: readonly string[]): readonly string[] {
  const directory = mkdtempSync(join(tmpdir(), "iospan-abi-"));
  try {
    const source = join(directory, "facts.c");
    const program = join(directory, "facts");
    writeFileSync(source, `${preamble()}int main(void) {\n${statements.join("\n")}\nreturn 0; }\n`);
    execFileSync(headers.compiler, [...flagsFor(headers), "-o", program, source], { stdio: "pipe" });
    return execFileSync(program, { encoding: "utf8", env: { LC_ALL: "C" } })
      .trimEnd()
      .split("\n");
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function flagsFor({ includes }: Headers): readonly string[] {
  return ["-std=gnu11", "-w", ...(includes === undefined ? [] : ["-I", includes])];
}

function preamble(): string {
  const standard = ["errno.h", "stddef.h", "stdio.h", "string.h", "linux/version.h"].map(
    (name) => `#include <${name}>\n`,
  );
  const ours = included.map((name) => `#if __has_include(<${name}>)\n#include <${name}>\n#endif\n`);
  return [...standard, ...ours].join("");
}
