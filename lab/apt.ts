import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Cache } from "./cache.js";
import { exists } from "./cache.js";
import { type Host, LabError } from "./host.js";
import { findMirror } from "./mirror.js";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const LISTS_GO_STALE = 12 * 3600 * 1000;

/** The Debian releases that the lab takes packages from, and the suites of each. */
export const RELEASES = {
  trixie: ["trixie", "trixie-backports"],
  bookworm: ["bookworm"],
  bullseye: ["bullseye"],
} as const;
export type Release = keyof typeof RELEASES;

/** One Debian release as apt sees it, in a state folder of the lab's own: the host's apt is neither used nor changed. */
export class Apt {
  readonly #host: Host;
  readonly #config: string;

  private constructor(host: Host, config: string) {
    this.#host = host;
    this.#config = config;
  }

  /** `renew` asks the mirror for its package lists even when those in the cache are recent. */
  static async open(host: Host, cache: Cache, release: Release, renew: boolean): Promise<Apt> {
    const folder = join(cache.folder, `apt-${release}`);
    const native = (await host.run("dpkg", ["--print-architecture"])).trim();
    for (const sub of ["state/lists/partial", "cache/archives/partial"]) {
      await mkdir(join(folder, sub), { recursive: true });
    }
    await writeFile(join(folder, "state/status"), "");
    await writeFile(join(folder, "apt.conf"), configuration(folder, native));
    const apt = new Apt(host, join(folder, "apt.conf"));
    await apt.#refresh(folder, release, await sources(host, release, native), renew);
    return apt;
  }

  /** Names of all packages that start like this. */
  async names(prefix: string): Promise<string[]> {
    const text = await this.#host.run("apt-cache", ["-c", this.#config, "pkgnames", prefix]);
    return text.split("\n").filter((name) => name !== "");
  }

  /** The version of a package that `download` would take. */
  async version(name: string): Promise<string | undefined> {
    const text = await this.#host.run("apt-cache", ["-c", this.#config, "show", "--no-all-versions", name]);
    return /^Version: (.+)$/m.exec(text)?.[1];
  }

  /** Puts exactly these packages into the folder. */
  async download(packages: readonly string[], folder: string): Promise<void> {
    await this.#host.run("apt-get", ["-c", this.#config, "download", ...packages], { cwd: folder });
  }

  /** Puts these packages and everything they depend on into the folder. */
  async downloadWithDependencies(packages: readonly string[], suite: string, folder: string): Promise<void> {
    await mkdir(join(folder, "partial"), { recursive: true });
    const archives = `Dir::Cache::archives=${folder}`;
    const options = ["-c", this.#config, "-o", archives, "-t", suite, "-y", "--download-only"];
    await this.#host.run("apt-get", [...options, "install", ...packages]);
  }

  async #refresh(folder: string, release: Release, text: string, renew: boolean): Promise<void> {
    const list = join(folder, "sources.list");
    const stamp = join(folder, "updated");
    const known = await readFile(stamp, "utf8").catch(() => "");
    const age = known === text ? Date.now() - (await stat(stamp)).mtimeMs : Infinity;
    if (age < LISTS_GO_STALE && !renew) return;
    await writeFile(list, text, { mode: 0o600 });
    await this.#host.step(`package lists of Debian ${release}`, () =>
      this.#host.run("apt-get", ["-c", this.#config, "-o", "APT::Update::Error-Mode=any", "update"]),
    );
    await writeFile(stamp, text, { mode: 0o600 });
  }
}

async function sources(host: Host, release: Release, native: string): Promise<string> {
  if (!(await exists(KEYRING))) {
    throw new LabError("Debian's keys are missing on this host\n  apt-get install debian-archive-keyring");
  }
  const mirror = await findMirror(host);
  // QEMU runs on the host, so one release is needed for its architecture too.
  const architectures = release === "trixie" && native !== "arm64" ? `${native},arm64` : "arm64";
  const lines = RELEASES[release].map(
    (suite) => `deb [arch=${architectures} signed-by=${KEYRING}] ${mirror} ${suite} main\n`,
  );
  return lines.join("");
}

/** Everything of the host's own configuration stays in force (proxies, say), except what names places or runs hooks. */
function configuration(folder: string, native: string): string {
  return `
#clear APT::Architectures;
#clear APT::Update;
#clear DPkg;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
APT::Architecture "${native}";
APT::Architectures { "${native}"; "arm64"; };
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Sandbox::User "";
DPkg::Lock::Timeout "60";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "${folder}/state";
Dir::State::status "${folder}/state/status";
Dir::Cache "${folder}/cache";
Dir::Log "${folder}";
Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
`;
}
