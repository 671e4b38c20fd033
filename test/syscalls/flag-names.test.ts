import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cNames } from "../../src/abi/flags.js";
import {
  adviceText,
  MADV,
  MAP,
  MAP_TYPE,
  MFD,
  mapFlagsText,
  memfdFlagsText,
  O,
  O_ACCMODE,
  openFlagsText,
  PROT,
  protText,
} from "../../src/syscalls/flag-names.js";
import { findCompiler } from "../abi/c-compiler.js";

const compiler = findCompiler();
const sets = [PROT, MAP_TYPE, MAP, MADV, MFD, O_ACCMODE, O];

describe("names of flags", () => {
  it.each([
    [protText(0), "PROT_NONE"],
    [protText(3), "PROT_READ|PROT_WRITE"],
    [protText(9), "PROT_READ|0x8"],
    [mapFlagsText(1), "MAP_SHARED"],
    [mapFlagsText(0), "0"],
    [mapFlagsText(0x4022), "MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE"],
    [mapFlagsText(0x40022 | (21 << 26)), "MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT"],
    [mapFlagsText(0x40022), "MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB"],
    [mapFlagsText(0x40001 | (34 << 26)), "MAP_SHARED|MAP_HUGETLB|34<<MAP_HUGE_SHIFT"],
    [mapFlagsText(0x4000_0002), "MAP_PRIVATE|0x40000000"],
    [mapFlagsText(0x8000_0002 | 0), "MAP_PRIVATE|0x80000000"],
    [memfdFlagsText(0), "0"],
    [memfdFlagsText(5 | (30 << 26)), "MFD_CLOEXEC|MFD_HUGETLB|30<<MFD_HUGE_SHIFT"],
    [openFlagsText(0), "O_RDONLY"],
    [openFlagsText(0o2000002), "O_RDWR|O_CLOEXEC"],
    [openFlagsText(0o40001), "O_WRONLY|0x4000"],
    [openFlagsText(3), "3"],
    [adviceText(23), "MADV_POPULATE_WRITE"],
    [adviceText(99), "99"],
  ])("%s", (text, expected) => {
    expect(text).toBe(expected);
  });

  it.each([
    ["mmap", mapFlagsText, "MAP_HUGE_SHIFT"],
    ["memfd_create", memfdFlagsText, "MFD_HUGE_SHIFT"],
    ["openat", openFlagsText, ""],
  ] as const)("lose no bit of %s's", (_, textOf, shift) => {
    const values = new Map(sets.flatMap(cNames));
    fc.assert(
      fc.property(fc.integer(), (flags) => {
        const parts = textOf(flags)
          .split("|")
          .map((part) => {
            const [, log2] = /^(\d+)<<(\w+)$/.exec(part) ?? [];
            if (log2 === undefined) return values.get(part) ?? Number(part);
            expect(part).toBe(`${log2}<<${shift}`);
            return Number(log2) * 2 ** 26;
          });
        expect(parts.reduce((sum, part) => sum + part, 0)).toBe(flags >>> 0);
      }),
    );
  });
});

/** The values that the C library's headers have for names, those that they know. */
function valuesInC(names: readonly string[]): ReadonlyMap<string, number> {
  const directory = mkdtempSync(join(tmpdir(), "iospan-flags-"));
  try {
    const source = join(directory, "flags.c");
    const program = join(directory, "flags");
    const includes = ["stdio.h", "fcntl.h", "sys/mman.h", "linux/memfd.h"].map((name) => `#include <${name}>\n`);
    const lines = names.map((name) => `#ifdef ${name}\nprintf("${name} %u\\n", (unsigned)(${name}));\n#endif\n`);
    writeFileSync(source, `#define _GNU_SOURCE\n${includes.join("")}int main(void) {\n${lines.join("")}return 0; }\n`);
    execFileSync(compiler ?? "cc", ["-o", program, source], { stdio: "pipe" });
    const answers = execFileSync(program, { encoding: "utf8" }).trimEnd().split("\n");
    return new Map(answers.map((line) => [line.split(" ")[0] ?? "", Number(line.split(" ")[1])]));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const onLinux = process.platform === "linux" && ["x64", "arm64", "riscv64"].includes(process.arch);

it.runIf(onLinux && compiler !== undefined)("the numbers are those of the C library's headers", () => {
  const ours = new Map(sets.flatMap(cNames));
  const theirs = valuesInC([...ours.keys()]);
  expect(theirs.size).toBeGreaterThan(40);
  for (const [name, value] of theirs) expect(ours.get(name), name).toBe(value);
});
