import { readFileSync } from "node:fs";
import { packageFile } from "../package-files.js";

/** Where the package has what explains the checks. */
export const DOCTOR_PAGES = "docs/doctor.md";

/**
 * The section of a check, in Markdown: its heading, and all up to the next of the same level.
 * @throws Error where the package lacks it, which a test keeps from happening.
 */
export function readPage(id: string): string {
  const lines = readFileSync(packageFile(DOCTOR_PAGES), "utf8").split("\n");
  const start = lines.indexOf(`## ${id}`);
  if (start < 0) throw new Error(`${DOCTOR_PAGES} has no section ${id}`);
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith("## "));
  return lines
    .slice(start, length < 0 ? undefined : start + 1 + length)
    .join("\n")
    .trim();
}

/** The file that is meant by a page such as `docs/doctor.md#iospan-memlock`, with its anchor. */
export function pageFile(page: string): string {
  const [file = "", anchor] = page.split("#");
  return anchor === undefined ? packageFile(file) : `${packageFile(file)}#${anchor}`;
}
