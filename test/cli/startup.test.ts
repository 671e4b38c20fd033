import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const src = fileURLToPath(new URL("../../src", import.meta.url));

interface Reached {
  /** Files of src. */
  readonly files: ReadonlySet<string>;
  /** Packages and modules of Node's. */
  readonly others: ReadonlySet<string>;
}

/** What is loaded with a file, before anything of it runs. */
function reachOf(start: string): Reached {
  const reached = { files: new Set<string>(), others: new Set<string>() };
  const visit = (file: string) => {
    if (reached.files.has(file)) return;
    reached.files.add(file);
    const text = readFileSync(path.join(src, file), "utf8");
    for (const [, from = ""] of text.matchAll(/^(?:import|export) (?!type )[^;]*?from "([^"]+)";/gms)) {
      if (from.startsWith(".")) visit(path.join(path.dirname(file), from).replace(/\.js$/, ".ts"));
      else reached.others.add(from);
    }
  };
  visit(start);
  return reached;
}

const { files, others } = reachOf("cli/main.ts");
/** Light files outside the command line that definitions and failures are made of. */
const OUTSIDE = ["abi/errno.ts", "errors.ts"];

describe("what is loaded for --version, --help, completion and wrong usage", () => {
  it("is the commands' definitions, and nothing that they do", () => {
    const heavy = [...files].filter((file) => !file.startsWith("cli/") && !OUTSIDE.includes(file));
    expect(heavy).toEqual([]);
    expect([...files].filter((file) => /\/(run|render|json)[^/]*\.ts$/.test(file))).toEqual(["cli/run.ts"]);
  });

  it("needs two packages", () => {
    expect([...others].filter((name) => !name.startsWith("node:")).sort()).toEqual(["commander", "picocolors"]);
  });

  it("is small", () => {
    const bytes = [...files].map((file) => readFileSync(path.join(src, file)).length);
    expect(bytes.reduce((sum, each) => sum + each, 0)).toBeLessThan(80_000);
  });

  it("holds every command that there is", () => {
    const defined = readdirSync(path.join(src, "cli"))
      .filter((name) => name.endsWith(".ts"))
      .filter((name) => /^export function add[A-Z]/m.test(readFileSync(path.join(src, "cli", name), "utf8")));
    expect(defined.filter((name) => !files.has(`cli/${name}`))).toEqual([]);
  });
});
