import { Argument, type Command } from "commander";
import { type Shell, shells } from "./completion/shells.js";
import { helpSections } from "./help-sections.js";
import type { Streams } from "./streams.js";

/** What the scripts call, with the words until the cursor. */
export const COMPLETE = "__complete";

const SECTIONS = helpSections({
  notes: [
    "Completed are commands, options, what options take, files, the names of this machine's devices and IOMMUs (of what --sysfs, --device-tree, --iort or --machine names, where it is there), and the IDs of checks.",
  ],
  exitCodes: { 0: "the script was written", 2: "the command line is wrong" },
  examplesTitle: "To install it",
  examples: [
    ['eval "$(iospan completion bash)"', "bash, in ~/.bashrc"],
    ["iospan completion zsh > ~/.zfunc/_iospan", "zsh, with fpath+=(~/.zfunc) before compinit in ~/.zshrc"],
    ["iospan completion fish > ~/.config/fish/completions/iospan.fish", "fish"],
  ],
});

/** Adds `iospan completion`. @param finish takes the exit code. */
export function addCompletion(program: Command, { stdout }: Streams, finish: (exitCode: number) => void): void {
  program
    .command("completion")
    .summary("what makes a shell complete iospan's command lines")
    .description("Writes a script for a shell, which then completes the command lines of iospan.")
    .addArgument(new Argument("<shell>", "the shell").choices(shells))
    .addHelpText("after", SECTIONS)
    .action(async (shell: Shell) => {
      const { scripts } = await import("./completion/scripts.js");
      stdout.write(scripts[shell](program.name(), COMPLETE));
      finish(0);
    });
}
