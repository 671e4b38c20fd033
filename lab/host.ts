import { execFile } from "node:child_process";
import { appendFileSync } from "node:fs";
import { access, constants } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

/** What went wrong, in one line, and the way out: shown without a stack trace. */
export class LabError extends Error {
  override readonly name = "LabError";
}

/** Which Debian package brings a tool that the lab starts on the host, or a file that such a tool reads. */
const PACKAGES: Readonly<Record<string, string>> = {
  "apt-get": "apt",
  "/usr/include/stdio.h": "libc6-dev",
  "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
  "apt-cache": "apt",
  dpkg: "dpkg",
  "dpkg-deb": "dpkg",
  flock: "util-linux",
  npm: "npm",
  setpriv: "util-linux",
  tar: "tar",
  xz: "xz-utils",
};

export interface RunOptions {
  readonly cwd?: string;
  /** Told what the tool prints, while it runs. */
  readonly onOutput?: ((text: string) => void) | undefined;
  /** A file to which all that the tool prints is appended, as it comes. */
  readonly log?: string;
}

/** The machine the lab runs on: its tools, and the terminal it reports to. */
export class Host {
  /** Fires when the user interrupts the lab: every tool still running is then ended. */
  readonly signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.signal = signal;
  }

  /** One line for the user. On stderr, since stdout belongs to the program in the guest. */
  say(text: string): void {
    process.stderr.write(`lab: ${text}\n`);
  }

  /** Runs a step that takes a while, saying when it starts and how long it took. */
  async step<T>(label: string, work: () => Promise<T>): Promise<T> {
    this.say(`${label} …`);
    const start = performance.now();
    const result = await work();
    this.say(`${label}: done in ${seconds(start)}`);
    return result;
  }

  /** Runs a tool to its end and returns what it printed; its last words are in the error when it fails. */
  run(tool: string, args: readonly string[], { cwd, onOutput, log }: RunOptions = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      // Tools are read by this program, so they must speak English.
      const env = { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" };
      const limits = { maxBuffer: 64 * 1024 * 1024, signal: this.signal };
      // setpriv: a tool must not go on writing into the cache when this program was killed.
      const child = execFile(
        "setpriv",
        ["--pdeathsig", "TERM", tool, ...args],
        { cwd, ...limits, env },
        (error, stdout, stderr) => {
          if (error === null) return resolve(stdout);
          if (this.signal.aborted) return reject(error);
          const words = stderr.trim().split("\n").slice(-8).join("\n  ");
          reject(new LabError(`${tool} ${args.join(" ")}\n  failed (${error.code ?? error.signal}): ${words}`));
        },
      );
      if (onOutput !== undefined) child.stdout?.on("data", (chunk) => onOutput(String(chunk)));
      if (log !== undefined)
        for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk) => appendFileSync(log, chunk));
    });
  }

  /** Fails with every missing tool at once, or file that has a full path, and the command that installs them. */
  async need(tools: readonly string[]): Promise<void> {
    const found = await Promise.all(tools.map(isThere));
    const missing = tools.filter((_, index) => !found[index]);
    if (missing.length === 0) return;
    if (missing.includes("apt-get")) {
      throw new LabError("the lab needs a Debian-like host: it takes kernels and QEMU from Debian with apt-get");
    }
    const packages = [...new Set(missing.map((tool) => PACKAGES[tool] ?? tool))];
    throw new LabError(`missing on this host: ${missing.join(", ")}\n  apt-get install ${packages.join(" ")}`);
  }
}

/** The full path of a tool, or undefined where it is not installed. */
export async function onPath(tool: string): Promise<string | undefined> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, tool);
    if (await isAccessible(path, constants.X_OK)) return path;
  }
  return undefined;
}

async function isThere(tool: string): Promise<boolean> {
  return isAbsolute(tool) ? isAccessible(tool, constants.R_OK) : (await onPath(tool)) !== undefined;
}

function isAccessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** The time since `start` (of `performance.now()`), as the user reads it. */
export function seconds(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}
