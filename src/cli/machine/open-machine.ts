import { realpathSync, statSync } from "node:fs";
import path from "node:path";
import { IospanError } from "../../errors.js";
import type { MachineFiles } from "../../machine/machine-files.js";
import type { SavedMachine } from "../../survey/saved/saved-machine.js";
import type { SourceFlags } from "../machine-source.js";
import { Folder } from "./folder.js";
import { readSavedMachine } from "./saved-machine-file.js";

/** A machine that can be looked at. */
export interface OpenMachine {
  readonly files: MachineFiles;
  /** What it is called in the output. */
  readonly name: string;
  /** It is the one this process runs on. */
  readonly isLive: boolean;
  /** It was saved, with more than its files. */
  readonly saved?: SavedMachine;
}

/**
 * The machine that was named: a copy, a saved one, or this one. Undefined where only firmware was.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for sources that do not go together or cannot be read.
 */
export function openMachine({ sysfs, machine, deviceTree, iort }: SourceFlags): OpenMachine | undefined {
  if (sysfs !== undefined && machine !== undefined) throw twoMachines(sysfs, machine);
  if (sysfs !== undefined) return openCopy(sysfs);
  if (machine !== undefined) return openSaved(machine);
  if (deviceTree !== undefined || iort !== undefined) return undefined;
  return { files: Folder.live(), name: "/sys", isLive: true };
}

/** A copy may be of `/sys` or of the root it is in. */
function openCopy(copy: string): OpenMachine {
  if (!isFolder(copy)) {
    const isThere = statSync(copy, { throwIfNoEntry: false }) !== undefined;
    const why = isThere ? "it is not a folder" : "there is no such folder";
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `cannot read the sysfs ${copy}: ${why}`, {
      hint: isThere
        ? "name /sys, or a copy of it that has kept its links; --machine takes saved machines"
        : "name /sys, or a copy of it that has kept its links",
    });
  }
  if (["/", "/sys"].includes(realpathSync(copy))) return { files: Folder.live(), name: copy, isLive: true };
  const inside = path.join(copy, "sys");
  const content = isFolder(inside) ? { root: copy, sysfs: inside } : { sysfs: copy };
  return { files: new Folder(content), name: copy, isLive: false };
}

function openSaved(file: string): OpenMachine {
  const saved = readSavedMachine(file);
  const name = file === "-" ? "the standard input" : path.basename(file);
  return { files: saved.files, name, isLive: false, saved };
}

function isFolder(name: string): boolean {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}

function twoMachines(sysfs: string, machine: string): IospanError {
  const message = `the sysfs ${sysfs} and the saved machine ${machine} are two machines`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, { hint: "name one: --sysfs or --machine" });
}
