import type { Command } from "commander";
import type { BindFlags } from "./bind/options.js";
import { helpSections } from "./help-sections.js";
import type { Streams } from "./streams.js";

const SECTIONS = helpSections({
  notes: [
    "Refused unless --force: what would cut this machine off. A mounted file system or swap on the device, by whatever layers; the default route, the ssh session; the console, the screen; an IOMMU; a disk or a terminal that a process has open. Only what can be read is judged, and what cannot is named.",
    "All devices are bound or none. Where they were is noted in /run/iospan, and iospan unbind brings them back there.",
    "--persist=write also writes a udev rule and a list of modules for every boot. The rule takes no device from a driver that was there first: where the initramfs has that driver, it needs rule and module as well.",
  ],
  exitCodes: {
    0: "done",
    1: "refused or failed: every device is where it was",
    2: "the command line is wrong",
  },
  examples: [
    ["iospan bind", "what is on VFIO now"],
    ["sudo iospan bind 0000:01:00.0", "to vfio-pci"],
    ["sudo iospan bind 01:00.0 9030000.dma-port", "both, or none"],
    ["sudo iospan bind --group 0000:03:00.0", "and the rest of its IOMMU group"],
    ["iospan bind --dry-run 0000:01:00.0", "the commands, and what is refused"],
    ["sudo iospan bind --persist=write 01:00.0", "now and at every boot"],
  ],
});

/** Adds `iospan bind`. @param finish takes the exit code. */
export function addBind(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  program
    .command("bind")
    .summary("devices to VFIO, all or none, and what is there")
    .description(
      "Binds devices to VFIO's drivers, so that programs in user space can have them, and remembers the way back. Without " +
        "devices it shows what is on VFIO.",
    )
    .argument("[devices...]", "kernel names: 0000:01:00.0, 01:00.0, 9030000.dma-port")
    .option("--driver <name>", "a variant of VFIO's driver, such as mlx5_vfio_pci")
    .option("-g, --group", "the other devices of their IOMMU groups, too")
    .option("--status", "what is on VFIO now, and where it would go back")
    .option("-n, --dry-run", "show the commands and what is refused, and change nothing")
    .option("-f, --force", "also what cuts this machine off")
    .option("--load", "load VFIO's drivers where they are missing")
    .option("--persist [how]", "for every boot: print the files, or write them (print, write)")
    .option("--json", "the result as JSON")
    .addHelpText("after", SECTIONS)
    .action(async (devices: readonly string[], flags: BindFlags) => {
      const { runBind } = await import("./bind/run.js");
      finish(await runBind(devices, flags, streams));
    });
}
