import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as api from "../src/index.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "iospan-package-"));
const installed = path.join(folder, "node_modules", "iospan");

/** The package as a user gets it: packed, unpacked, beside its dependencies. */
beforeAll(() => {
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", folder], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  );
  execFileSync("tar", ["-xzf", path.join(folder, packed.filename), "-C", folder]);
  mkdirSync(path.dirname(installed), { recursive: true });
  cpSync(path.join(folder, "package"), installed, { recursive: true });
  for (const dependency of ["koffi", "@koromix", "commander", "picocolors"]) {
    symlinkSync(path.join(root, "node_modules", dependency), path.join(folder, "node_modules", dependency));
  }
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true }));

/** `@types/node`, and what that needs. */
function linkTypes(name: string): void {
  const place = name === "node" ? "@types/node" : name;
  mkdirSync(path.dirname(path.join(folder, "node_modules", place)), { recursive: true });
  symlinkSync(path.join(root, "node_modules", place), path.join(folder, "node_modules", place));
}

describe("the package", () => {
  it("exports what the sources export", () => {
    const script = 'import * as api from "iospan"; console.log(JSON.stringify(Object.keys(api).sort()))';
    const exported = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(JSON.parse(exported)).toEqual(Object.keys(api).sort());
  });

  it("has types for its export", () => {
    const { exports } = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8"));
    const types = readFileSync(path.join(installed, exports["."].types), "utf8");
    expect(types).toContain("IoAddressSpace");
  });

  it("has types that are whole, for programs that check those of their packages", () => {
    for (const types of ["node", "undici-types"]) linkTypes(types);
    const options = { target: "es2022", lib: ["es2022", "esnext.disposable"], module: "nodenext", types: ["node"] };
    const compilerOptions = { ...options, strict: true, noEmit: true, skipLibCheck: false };
    writeFileSync(path.join(folder, "package.json"), JSON.stringify({ type: "module" }));
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
    writeFileSync(path.join(folder, "program.ts"), 'import { linux } from "iospan";\nconsole.log(linux());\n');
    const tsc = path.join(root, "node_modules", ".bin", "tsc");
    const { status, stdout } = spawnSync(tsc, ["-p", folder], { encoding: "utf8" });
    expect([status, stdout]).toEqual([0, ""]);
  });

  it("has its command, and the chips that it takes", () => {
    const { bin } = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8"));
    const command = path.join(installed, bin.iospan);
    expect(readFileSync(command, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
    const demo = execFileSync(process.execPath, [command, "demo", "--json"], { cwd: folder, encoding: "utf8" });
    expect(JSON.parse(demo)).toMatchObject({ machine: { chip: "dual-smmu.dts" }, asExpected: true });
  });

  it.each([
    [["topology", "-t", "dual-smmu", "--json"], '"iommus"'],
    [["plan", "-t", "dual-smmu", "--json"], '"candidates"'],
    [["doctor", "--explain", "IOSPAN-MEMLOCK"], "IOSPAN-MEMLOCK"],
    [["bind", "--status", "--json"], '"bound"'],
    [["faults", "/dev/null", "--json"], '"groups": []'],
  ])("runs %j with what it has", (argv, expected) => {
    const command = path.join(installed, "dist/cli/main.js");
    expect(execFileSync(process.execPath, [command, ...argv], { cwd: folder, encoding: "utf8" })).toContain(expected);
  });

  it("answers what shells ask", () => {
    const command = path.join(installed, "dist/cli/main.js");
    const ask = (...words: readonly string[]) =>
      execFileSync(process.execPath, [command, ...words], { cwd: folder, encoding: "utf8" });
    expect(ask("__complete", "topo")).toMatch(/^topology\t/);
    expect(ask("completion", "bash")).toContain("complete -F _iospan iospan");
  });

  it("has chips that programs find by name", () => {
    const script = 'console.log(import.meta.resolve("iospan/chips/dual-smmu.dts"))';
    const url = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(readFileSync(fileURLToPath(url.trim()), "utf8")).toContain("/dts-v1/");
  });
});

describe("the package's manual", () => {
  it("has the page of each command", () => {
    const { man } = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8"));
    expect(man).toContain("dist/man/iospan-topology.1");
    for (const page of man) expect(readFileSync(path.join(installed, page), "utf8")).toMatch(/^\.TH "IOSPAN/);
  });

  it("leaves out what makes it", () => {
    expect(existsSync(path.join(installed, "dist/cli/manual"))).toBe(false);
    expect(existsSync(path.join(installed, "tools"))).toBe(false);
    const all = readdirSync(path.join(installed, "dist"), { recursive: true, encoding: "utf8" });
    expect(all).toContain("index.js");
    expect(all.filter((name) => name.endsWith(".map"))).toEqual([]);
  });
});

describe("the package's schemas", () => {
  it("are found by name", () => {
    const script = 'console.log(import.meta.resolve("iospan/schemas/topology.schema.json"))';
    const url = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(JSON.parse(readFileSync(fileURLToPath(url.trim()), "utf8"))).toMatchObject({ title: "TopologyDocument" });
  });
});

describe("the lock file", () => {
  it("holds no download addresses", () => {
    const lock = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8"));
    for (const entry of Object.values<{ resolved?: string }>(lock.packages)) expect(entry.resolved).toBeUndefined();
  });
});
