import type { Entry, Page } from "./page.js";

/** Environment variables that every command heeds. */
const ENVIRONMENT: readonly Entry[] = [
  { term: "COLUMNS", text: "how wide lines may be, from 40 to 120; otherwise as wide as the terminal" },
  { term: "NO_COLOR", text: "if not empty: no colours" },
  { term: "FORCE_COLOR", text: "if not empty: colours also where the output is no terminal; 0 for none" },
  { term: "IOSPAN_DEBUG", text: "if not empty: a stack trace where iospan itself is wrong" },
];

/**
 * A command's page for man(1).
 * @param version of the package
 * @param others pages to see also: `iospan-topology`
 */
export function manPage(page: Page, version: string, others: readonly string[]): string {
  const name = manName(page);
  return [
    `.TH ${quoted(name.toUpperCase())} 1 "" ${quoted(`iospan ${version}`)} "User Commands"`,
    // Command lines are to be copied as they are.
    ".nh",
    ".ad l",
    section("Name", [`${escaped(name)} \\- ${escaped(page.summary)}`]),
    section("Synopsis", [`.B ${escaped(page.usage)}`]),
    section("Description", paragraphs([page.description, ...page.notes])),
    section("Arguments", page.args.flatMap(entry)),
    section("Commands", page.commands.flatMap(entry)),
    section("Options", page.options.flatMap(entry)),
    section("Exit status", page.exitCodes.flatMap(entry)),
    section(page.examplesTitle, page.examples.flatMap(entry)),
    section("Environment", ENVIRONMENT.flatMap(entry)),
    section("See also", [others.map((each) => `.BR ${escaped(each)} (1)`).join(" ,\n")]),
  ]
    .filter((part) => part !== "")
    .join("\n")
    .concat("\n");
}

/** The name of a command's page: `iospan-topology`. */
export function manName({ name }: Page): string {
  return name.replaceAll(" ", "-");
}

function section(title: string, lines: readonly string[]): string {
  return lines.join("") === "" ? "" : [`.SH ${quoted(title.toUpperCase())}`, ...lines].join("\n");
}

function paragraphs(texts: readonly string[]): readonly string[] {
  return texts.flatMap((text) => [".PP", escaped(text)]);
}

function entry({ term, text }: Entry): readonly string[] {
  return [".TP", `.B ${escaped(term)}`, escaped(text)];
}

/** The argument of a macro. */
function quoted(text: string): string {
  return `"${escaped(text)}"`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\(rs",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
  '"': "\\(dq",
};

/** Text that roff prints as it is, and in which no line is a request. */
function escaped(text: string): string {
  const plain = text
    .replace(/\s+/g, " ")
    .replace(/[\\\-'`^~"]/g, (each) => ESCAPES[each] ?? each)
    .replace(/[^ -~]/gu, (each) => `\\[u${(each.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}]`);
  return plain.startsWith(".") ? `\\&${plain}` : plain;
}
