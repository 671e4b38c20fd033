import type { Process } from "../process.js";
import { attribute, directory, type Entries, link, type Node } from "./tree.js";

/** `/proc`, as far as one process and the kernel's release go. */
export function procfs(process: Process, release: string, pageSize: number): Node {
  return directory({
    self: link(String(process.pid)),
    [String(process.pid)]: directory({
      comm: attribute(() => process.command),
      status: { kind: "file", read: () => status(process, pageSize) },
      fd: directory(() => fdEntries(process, (_, path) => link(path))),
      fdinfo: directory(() => fdEntries(process, (fdinfo) => ({ kind: "file", read: () => fdinfo }))),
    }),
    version: attribute(() => `Linux version ${release} (iospan@simulator)`),
    sys: directory({ kernel: directory({ osrelease: attribute(() => release), ostype: attribute(() => "Linux") }) }),
  });
}

function fdEntries(process: Process, node: (fdinfo: string, path: string) => Node): Entries {
  return Object.fromEntries(process.fds.entries().map(([fd, file]) => [String(fd), node(file.fdinfo(), file.path)]));
}

/** The lines that are about locked memory, in the kernel's layout (fs/proc/task_mmu.c). */
function status({ command, pid, lockedPages, pinnedPages }: Process, pageSize: number): string {
  const kilobytes = (pages: number) => `${((pages * pageSize) / 1024).toString().padStart(8)} kB`;
  return `Name:\t${command}\nPid:\t${pid}\nVmLck:\t${kilobytes(lockedPages)}\nVmPin:\t${kilobytes(pinnedPages)}\n`;
}
