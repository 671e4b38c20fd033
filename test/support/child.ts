import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface ChildResult {
  /** `SIGSEGV` and the like; null after an ordinary exit. */
  readonly signal: string | null;
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Programs over the library in processes of their own, for what may crash: a crash is then a result and not the end of
 * the test runner. A program imports from `src`: `import { linuxSyscalls } from "src/syscalls/linux.js"`.
 */
export function children(): { run(program: string, ...nodeFlags: string[]): ChildResult } {
  let directory = "";
  beforeAll(() => {
    fs.mkdirSync(path.join(ROOT, "build"), { recursive: true });
    // Inside the project, so that its packages are found.
    directory = fs.mkdtempSync(path.join(ROOT, "build", "test-child-"));
    compile(directory);
  });
  afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));
  return {
    run(program, ...nodeFlags) {
      const file = path.join(directory, `child-${process.hrtime.bigint()}.mjs`);
      fs.writeFileSync(file, program.replaceAll('from "src/', 'from "./'));
      const { signal, status, stdout, stderr } = spawnSync(process.execPath, [...nodeFlags, file], {
        encoding: "utf8",
      });
      return { signal, status, stdout, stderr };
    },
  };
}

/** Without type checks, which are another gate's. Only if a syntax error kept the compiler from writing is it an error. */
function compile(outDir: string): void {
  const tsc = path.join(ROOT, "node_modules", ".bin", "tsc");
  const flags = ["-p", path.join(ROOT, "tsconfig.build.json"), "--noCheck", "--outDir", outDir];
  try {
    execFileSync(tsc, [...flags, "--declaration", "false", "--sourceMap", "false", "--inlineSources", "false"]);
  } catch (error) {
    if (!fs.existsSync(path.join(outDir, "index.js"))) throw error;
  }
}
