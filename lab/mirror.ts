import { type Host, LabError } from "./host.js";

/** Names under which a host's apt may know a suite of Debian itself (not its security or update suites). */
const DEBIAN_SUITES = new Set(
  "bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable".split(" "),
);

/**
 * The address of the Debian mirror that this host's own apt uses, so that the lab needs no address of its own.
 * `IOSPAN_LAB_MIRROR` names one where the host has none (Ubuntu, say).
 */
export async function findMirror(host: Host): Promise<string> {
  const named = process.env["IOSPAN_LAB_MIRROR"];
  if (named) return named;
  const format = "$(REPO_URI)|$(LABEL)|$(RELEASE)";
  const text = await host.run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
  const rows = text.split("\n").map((line) => line.split("|"));
  // The label is known only once the host has run `apt-get update`; the suite's name tells nearly as well.
  const row =
    rows.find(([, label]) => label === "Debian") ?? rows.find(([, , suite]) => DEBIAN_SUITES.has(suite ?? ""));
  const address = row?.[0];
  if (address === undefined) {
    throw new LabError("this host's apt knows no Debian mirror: name one with IOSPAN_LAB_MIRROR=ADDRESS");
  }
  return address;
}
