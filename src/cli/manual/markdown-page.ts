import type { Entry, Page } from "./page.js";

/** A command's page for docs/commands. @param others other commands' pages: names and files */
export function markdownPage(page: Page, others: readonly Entry[]): string {
  return [
    "<!-- Made by tools/manual.mjs of what the command's --help shows; npm run manual makes it anew. -->",
    `# ${page.name}`,
    plain(page.description),
    block(page.usage),
    ...page.notes.map(plain),
    section("Arguments", table(page.args)),
    section("Commands", table(page.commands)),
    section("Options", table(page.options)),
    section("Exit code", table(page.exitCodes)),
    section(page.examplesTitle, block(page.examples.map(({ term, text }) => `# ${text}\n${term}`).join("\n\n"))),
    section("See also", others.map(({ term, text }) => `[${term}](${text})`).join(", ")),
  ]
    .filter((part) => part !== "")
    .join("\n\n")
    .concat("\n");
}

function section(title: string, content: string): string {
  return content === "" ? "" : `## ${title}\n\n${content}`;
}

function block(text: string): string {
  return text === "" ? "" : `\`\`\`sh\n${text}\n\`\`\``;
}

function table(entries: readonly Entry[]): string {
  if (entries.length === 0) return "";
  const rows = entries.map(
    ({ term, text }) => `| \`${term.replaceAll("|", "\\|")}\` | ${plain(text).replaceAll("|", "\\|")} |`,
  );
  return ["| | |", "| --- | --- |", ...rows].join("\n");
}

/** Text in which nothing is markup. */
function plain(text: string): string {
  return text.replace(/[\\`*_<>[\]#]/g, "\\$&");
}
