import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";

const KEEP = 7 * 24 * 3600 * 1000;
let logs = 0;

/** The file for one run's log: the kernel's, or a compiler's. Logs older than a week are removed on the way. */
export async function newLog(cache: string, name: string): Promise<string> {
  const folder = join(cache, "logs");
  await mkdir(folder, { recursive: true });
  for (const file of await readdir(folder)) {
    const { mtimeMs } = await stat(join(folder, file));
    if (Date.now() - mtimeMs > KEEP) await rm(join(folder, file), { force: true });
  }
  logs += 1;
  return join(folder, `${name}-${process.pid}-${logs}.log`);
}

/** The first line of make's output that tells an error: the compiler's word where there is one, else make's own. */
export async function firstErrorIn(log: string): Promise<string | undefined> {
  const lines = (await readFile(log, "utf8").catch(() => "")).split("\n");
  const first = lines.find((line) => /\berror: /i.test(line)) ?? lines.find((line) => line.includes("*** "));
  return first?.trim();
}

/** The last lines of a kernel log, without the colours and cursor movements of the firmware. */
export async function tailOf(log: string, lines: number): Promise<string> {
  const text = await readFile(log, "latin1").catch(() => "");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is removed
  const plain = text.replace(/\x1b\[[\d;=?]*[A-Za-z]/g, "").replaceAll("\r", "");
  return plain.trimEnd().split("\n").slice(-lines).join("\n");
}
