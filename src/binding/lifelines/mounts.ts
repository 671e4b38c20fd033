import type { MachineReader } from "./machine-reader.js";

/** A line of `/proc/PID/mountinfo` (fs/proc_namespace.c, show_mountinfo). */
export interface Mount {
  readonly point: string;
  /** `259:2` of the block device; `0:31` where the file system has none of its own, as btrfs, NFS and tmpfs. */
  readonly number: string;
  readonly type: string;
  /** `/dev/nvme0n1p2`, `server:/export`, `tmpfs`. */
  readonly source: string;
  /** Of the file system: `rw,addr=10.0.2.2`. */
  readonly options: string;
}

/** What is mounted, in this process's mount namespace and in those of others, such as containers, as far as it may be read. */
export function readMounts(reader: MachineReader): readonly Mount[] {
  const own = reader.link("/proc/self/ns/mnt");
  const namespaces = new Map<string, string>([[own ?? "", "self"]]);
  for (const pid of reader.names("/proc").filter((name) => /^\d+$/.test(name))) {
    const namespace = reader.link(`/proc/${pid}/ns/mnt`);
    if (namespace !== undefined && !namespaces.has(namespace)) namespaces.set(namespace, pid);
  }
  return [...namespaces.values()].flatMap((pid) => parseMounts(reader.lines(`/proc/${pid}/mountinfo`)));
}

/** Parses lines of mountinfo; others are left out. */
export function parseMounts(lines: readonly string[]): readonly Mount[] {
  return lines.flatMap((line) => {
    const [left = "", right = ""] = split(line);
    const [, , number, , point] = left.split(" ");
    const [type, source = "", options = ""] = right.split(" ");
    if (number === undefined || point === undefined || type === undefined || type === "") return [];
    return [{ point: unescaped(point), number, type, source: unescaped(source), options }];
  });
}

/** Optional fields end with a lone hyphen. */
function split(line: string): readonly string[] {
  const at = line.indexOf(" - ");
  return at < 0 ? [] : [line.slice(0, at), line.slice(at + 3)];
}

/** Space, tab, line end and backslash are written in octal: `\040`. */
export function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The mount that a file is on: the last one mounted at the longest point above it. */
export function mountOf(mounts: readonly Mount[], file: string): Mount | undefined {
  const above = mounts.filter(({ point }) => point === "/" || file === point || file.startsWith(`${point}/`));
  return above.reduce<Mount | undefined>(
    (best, each) => (best === undefined || each.point.length >= best.point.length ? each : best),
    undefined,
  );
}
