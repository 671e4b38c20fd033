import { commandLine } from "../command-line.js";
import { packageVersion } from "../package-files.js";
import { manName, manPage } from "./man-page.js";
import { markdownPage } from "./markdown-page.js";
import { commandsOf, type Page, pageOf } from "./page.js";

/** A file of the manual: its name, and what it holds. */
export type ManualFile = readonly [name: string, content: string];

/** Pages that say what `--help` does: for man(1), and for docs/commands. Both are of a width and without colours. */
export function manual(): { readonly man: readonly ManualFile[]; readonly docs: readonly ManualFile[] } {
  const nowhere = { write: () => {} };
  const program = commandLine({ stdout: nowhere, stderr: nowhere, env: {} }, () => {});
  const pages = [program, ...commandsOf(program)].map(pageOf);
  return { man: pages.map((page) => man(page, pages)), docs: pages.map((page) => docs(page, pages)) };
}

function man(page: Page, pages: readonly Page[]): ManualFile {
  return [`${manName(page)}.1`, manPage(page, packageVersion(), pages.filter((each) => each !== page).map(manName))];
}

function docs(page: Page, pages: readonly Page[]): ManualFile {
  const others = pages.filter((each) => each !== page).map((each) => ({ term: each.name, text: docsName(each) }));
  return [docsName(page), markdownPage(page, others)];
}

/** `topology.md`; the page of all commands is the folder's. */
function docsName({ name }: Page): string {
  return `${name.includes(" ") ? name.split(" ").slice(1).join("-") : "README"}.md`;
}
