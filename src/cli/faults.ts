import type { Command } from "commander";
import type { FaultsFlags } from "./faults/options.js";
import { helpSections } from "./help-sections.js";
import { sourceOptions } from "./machine-source.js";
import type { Streams } from "./streams.js";

const SECTIONS = helpSections({
  notes: [
    "Understands what the kernel's drivers arm-smmu-v3, arm-smmu, Intel VT-d (DMAR) and AMD-Vi say, as dmesg, journalctl -k, syslog or /dev/kmsg have it.",
    "Most kernels name a device by its StreamID or requester ID alone. Whose that is, the machine tells: of this machine's own log, this machine; of any other log, the sources that are named. A saved machine has its log with it.",
    "Faults of one device, kind, direction and 4 KiB page count as one, again and again; 4 KiB is the smallest page there is.",
  ],
  exitCodes: {
    0: "no IOMMU refused anything, as far as the log goes",
    1: "faults were found, or messages that some were lost",
    2: "the command line or a source is wrong, or the log cannot be read",
  },
  examples: [
    ["sudo iospan faults", "this machine's log"],
    ["sudo iospan faults --follow", "as they come, until Ctrl-C"],
    ["iospan faults dmesg.txt", "a log that somebody sent"],
    ["iospan faults dmesg.txt --device-tree board.dtb", "with devices' names"],
    ["iospan faults --machine board.json", "a saved machine's log"],
    ["journalctl -k -b -1 | iospan faults --sysfs /sys -", "the boot before this one"],
    ["journalctl -kf | iospan faults --follow -", "as they come"],
    ["iospan faults dmesg.txt --json | jq '.groups[].fault.address'", "the addresses that were refused"],
  ],
});

/** Adds `iospan faults`. @param finish takes the exit code. */
export function addFaults(program: Command, streams: Streams, finish: (exitCode: number) => void): void {
  const command = program
    .command("faults")
    .summary("what IOMMUs refused, from the kernel's log, in words")
    .description(
      "Finds in a kernel log the DMA that IOMMUs refused, decodes each record, counts those that repeat, and says what they " +
        "mean for a device in user space's hands and what to do.",
    )
    .argument("[log]", "a file, or - for the standard input (default: this machine's log)")
    .option("-f, --follow", "tell faults as they come; with --json one document a line")
    .option("--json", "the result as JSON")
    .addHelpText("after", SECTIONS)
    .action(async (log: string | undefined, flags: FaultsFlags) => {
      const { faults } = await import("./faults/run.js");
      finish(await faults(log, flags, streams));
    });
  for (const option of sourceOptions()) command.addOption(option);
}
