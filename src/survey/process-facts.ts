import type { OptionalFiles } from "../machine/optional-files.js";
import { isFirstUserNamespace } from "../machine/user-namespace.js";
import type { ResourceLimit } from "../syscalls/syscalls.js";
import type { ProcessFacts } from "./survey.js";

/** What /proc says of the process that asks: itself, or the one that a copy or a saved machine was made by. */
export function readProcessFacts(files: OptionalFiles): ProcessFacts {
  const status = statusFields(files.text("/proc/self/status") ?? "");
  const ids = (name: string) =>
    status
      .get(name)
      ?.split(/\s+/)
      .filter((each) => /^\d+$/.test(each))
      .map(Number);
  const effectiveGroup = ids("Gid")?.[1];
  const groups = ids("Groups");
  const capabilities = status.get("CapEff");
  return {
    memlock: memlockOf(files.text("/proc/self/limits") ?? ""),
    locked: bytesOf(status.get("VmLck")),
    pinned: bytesOf(status.get("VmPin")),
    capabilities: /^[0-9a-f]+$/.test(capabilities ?? "") ? BigInt(`0x${capabilities}`) : undefined,
    hasAllUsers: isFirstUserNamespace(files),
    uid: ids("Uid")?.[1],
    groups: effectiveGroup === undefined || groups === undefined ? groups : [...new Set([effectiveGroup, ...groups])],
  };
}

/** `Name:\tvalue` (fs/proc/array.c, fs/proc/task_mmu.c). */
function statusFields(text: string): ReadonlyMap<string, string> {
  const lines = text.split("\n").map((line) => /^(\w+):\s*(.*?)\s*$/.exec(line));
  return new Map(lines.flatMap((found) => (found === null ? [] : [[found[1] ?? "", found[2] ?? ""] as const])));
}

function bytesOf(text: string | undefined): number | undefined {
  const kibibytes = /^(\d+) kB$/.exec(text ?? "")?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

/** `Max locked memory         8388608              unlimited            bytes` (fs/proc/base.c, proc_pid_limits). */
function memlockOf(text: string): ResourceLimit | undefined {
  const [, soft, hard] = /^Max locked memory\s+(\d+|unlimited)\s+(\d+|unlimited)\s/m.exec(text) ?? [];
  if (soft === undefined || hard === undefined) return undefined;
  return { soft: limitOf(soft), hard: limitOf(hard) };
}

function limitOf(text: string): number {
  return text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text);
}
