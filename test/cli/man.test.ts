import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { commandLine } from "../../src/cli/command-line.js";
import { helpSections, helpSectionsOf } from "../../src/cli/help-sections.js";
import { manPage } from "../../src/cli/manual/man-page.js";
import { manual } from "../../src/cli/manual/manual.js";
import { markdownPage } from "../../src/cli/manual/markdown-page.js";
import { pageOf } from "../../src/cli/manual/page.js";
import { packageFile } from "../../src/cli/package-files.js";
import { capture } from "./support/captured.js";

const nowhere = { write: () => {} };
const program = commandLine({ stdout: nowhere, stderr: nowhere, env: {} }, () => {});
const { man, docs } = manual();
const groff = spawnSync("groff", ["--version"]).status === 0;

/** A page as man(1) shows it, and what groff has against it. */
function shown(page: string): { text: string; warnings: string } {
  const { stdout, stderr } = spawnSync("groff", ["-man", "-ww", "-Tutf8"], { input: page, encoding: "utf8" });
  // What is bold some versions strike twice: a character, a backspace, the character again.
  const struck = stdout.split("\b");
  const once = struck.map((part, index) => (index < struck.length - 1 ? [...part].slice(0, -1).join("") : part));
  return { text: stripVTControlCharacters(once.join("")), warnings: stderr };
}

/** Text without line ends and what is at their ends. */
const flat = (text: string) => text.replace(/\s+/g, " ");

describe("docs/commands", () => {
  it("is what the definitions make now: npm run manual", () => {
    const folder = packageFile("docs/commands");
    expect(readdirSync(folder).sort()).toEqual(docs.map(([name]) => name).sort());
    for (const [name, content] of docs) expect(readFileSync(path.join(folder, name), "utf8"), name).toBe(content);
  });

  it("links to pages that there are", () => {
    const names = docs.map(([name]) => name);
    for (const [, content] of docs) {
      for (const [, target] of content.matchAll(/\]\(([^)]+)\)/g)) expect(names).toContain(target);
    }
  });
});

describe("the man pages", () => {
  it("are those that the package says it has", () => {
    const { man: listed } = JSON.parse(readFileSync(packageFile("package.json"), "utf8"));
    expect(man.map(([name]) => `dist/man/${name}`)).toEqual(listed);
  });

  // Skipped where there is no groff to read them.
  it.skipIf(!groff).each(man)("%s has no faults, and says all that --help says", async (name, page) => {
    const { text, warnings } = shown(page);
    expect(warnings).toBe("");
    const command = program.commands.find((each) => name === `iospan-${each.name()}.1`) ?? program;
    const { options, args, examples, notes, description } = pageOf(command);
    const all = [...options, ...args, ...examples].flatMap((each) => [each.term, each.text]);
    for (const each of [...all, ...notes, description]) expect(flat(text)).toContain(flat(each));
  });

  it.skipIf(!groff)("print what looks like a request or an escape as it is", () => {
    const odd = [".SH not a title", "'br", "\\fB\\n", "a -- b --c", `"quoted" 'and' \`so\` ^ ~ é … 🎺`];
    const command = new Command("odd").description(odd.join("\n"));
    for (const [index, text] of odd.entries()) command.option(`--o${index}`, text);
    command.addHelpText("after", helpSections({ notes: odd, exitCodes: { 0: ".ok" }, examples: [[".x \\", "'y"]] }));
    const { text, warnings } = shown(manPage(pageOf(command), '1"2', ["odd-other"]));
    expect(warnings).toBe("");
    for (const each of [...odd, ".ok", ".x \\", "'y", 'iospan 1"2']) expect(flat(text)).toContain(each);
  });
});

describe("a command's help", () => {
  it.each(["iospan", ...program.commands.map((command) => command.name())])(
    "of %s says exit codes and examples, and is one with its pages",
    async (name) => {
      const command = program.commands.find((each) => each.name() === name) ?? program;
      const sections = helpSectionsOf(command);
      expect(Object.keys(sections?.exitCodes ?? {})).toEqual(expect.arrayContaining(["0", "2"]));
      const { stdout } = await capture(command === program ? ["--help"] : [name, "--help"]);
      const markdown = markdownPage(pageOf(command), []);
      for (const [commandLine, purpose] of sections?.examples ?? []) {
        expect(stdout).toContain(commandLine);
        expect(flat(stdout)).toContain(purpose);
        expect(markdown).toContain(`# ${purpose}\n${commandLine}`);
      }
      for (const meaning of Object.values(sections?.exitCodes ?? {})) expect(flat(stdout)).toContain(meaning);
    },
  );

  it.each([60, 80, 120])("fits into %i columns, examples aside, which are one line each", async (width) => {
    for (const name of program.commands.map((command) => command.name())) {
      const { stdout } = await capture([name, "--help"], { env: { COLUMNS: String(width) } });
      const examples = helpSectionsOf(program.commands.find((each) => each.name() === name)!)?.examples ?? [];
      const lines = stdout.split("\n").filter((line) => !examples.some(([each]) => line.trim().startsWith(each)));
      // An option's own name is not broken either.
      for (const line of lines.filter((each) => !each.startsWith("  -")))
        expect(line.length, line).toBeLessThanOrEqual(width);
    }
  });

  it("has markup in none of its texts where it is Markdown", () => {
    const command = new Command("odd").description("a *b* _c_ <d> `e` [f](g)").option("--x <a|b>", "1 | 2");
    const page = markdownPage(pageOf(command), []);
    expect(page).toContain("a \\*b\\* \\_c\\_ \\<d\\> \\`e\\` \\[f\\](g)");
    expect(page).toContain("| `--x <a\\|b>` | 1 \\| 2 |");
  });
});
