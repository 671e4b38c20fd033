import { spawnSync } from "node:child_process";
import { IospanError } from "../../errors.js";
import type { Environment } from "../text/colours.js";
import type { CommandWorld } from "./command-world.js";
import { EtcFiles } from "./etc-files.js";
import { STATE_FOLDER, stateFolder } from "./state-folder.js";

/** The machine that this process runs on. `IOSPAN_STATE_DIR` says where the record of bindings is kept instead of /run/iospan. */
export async function liveWorld(env: Environment): Promise<CommandWorld> {
  const { linuxSyscalls } = await import("../../syscalls/linux.js");
  return {
    machine: { syscalls: linuxSyscalls() },
    store: stateFolder(env["IOSPAN_STATE_DIR"] || STATE_FOLDER),
    sshConnection: env["SSH_CONNECTION"],
    root: process.geteuid?.() === 0,
    etc: new EtcFiles(),
    modprobe,
  };
}

function modprobe(driver: string): void {
  const { status, stderr, error } = spawnSync("modprobe", ["--", driver], { encoding: "utf8" });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim();
  throw new IospanError("ERR_IOSPAN_NO_VFIO", `modprobe ${driver} failed: ${reason}`, {
    hint: `the kernel needs the module: modinfo ${driver}; or it is built in and has another name: ls /sys/bus/*/drivers`,
  });
}
