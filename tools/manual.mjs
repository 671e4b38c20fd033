// Writes the pages of the manual, from the commands' definitions as they are built:
//   node tools/manual.mjs man <folder>     for man(1); part of the build
//   node tools/manual.mjs docs <folder>    for docs/commands; test/cli/man.test.ts holds them to the definitions
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { manual } from "../dist/cli/manual/manual.js";

const [kind, folder] = process.argv.slice(2);
const files = manual()[kind];
if (files === undefined || folder === undefined) throw new Error("usage: node tools/manual.mjs man|docs <folder>");
mkdirSync(folder, { recursive: true });
// A command that is gone has no page.
for (const old of readdirSync(folder)) if (!files.some(([name]) => name === old)) rmSync(path.join(folder, old));
for (const [name, content] of files) writeFileSync(path.join(folder, name), content);
