import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commandLine } from "../../src/cli/command-line.js";
import { completions } from "../../src/cli/completion/completions.js";
import { shells } from "../../src/cli/completion/shells.js";
import { shippedChips } from "../../src/cli/package-files.js";
import { checks } from "../../src/doctor/checks.js";
import { capture } from "./support/captured.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-completion-"));
const sysfs = path.join(folder, "sys");
afterAll(() => rmSync(folder, { recursive: true }));

/** Two PCI functions of which the second has an IOMMU, and a platform device that has one. */
beforeAll(() => {
  const device = (bus: string, name: string, links: Readonly<Record<string, string>>) => {
    const place = path.join(sysfs, "bus", bus, "devices", name);
    mkdirSync(place, { recursive: true });
    for (const [link, target] of Object.entries(links)) symlinkSync(target, path.join(place, link));
    if (bus !== "pci") return;
    writeFileSync(path.join(place, "vendor"), "0x1234\n");
    writeFileSync(path.join(place, "device"), "0xd9e1\n");
  };
  device("pci", "0000:00:01.0", {});
  device("pci", "0000:02:00.0", { iommu_group: "../../groups/3", driver: "../../drivers/vfio-pci" });
  device("platform", "9030000.dma-port", { iommu_group: "../../groups/11" });
  mkdirSync(path.join(sysfs, "class", "iommu", "smmu3.0x0000000009050000"), { recursive: true });
});

const nowhere = { write: () => {} };
const program = commandLine({ stdout: nowhere, stderr: nowhere, env: {} }, () => {});
const commands = program.commands.map((command) => command.name());

/** The words that may come, of a line that ends where the cursor is. */
async function offered(...words: readonly string[]): Promise<readonly string[]> {
  const lines = (await completions(words, program)).split("\n").filter((line) => line !== "");
  return lines.map((line) => (line.startsWith(":") ? line : (line.split("\t")[0] ?? "")));
}

describe("completion", () => {
  it("knows all commands", async () => {
    expect(await offered("")).toEqual([...commands, "help"]);
    expect(await offered("to")).toEqual(["topology"]);
    expect(await offered("help", "")).toEqual(commands);
    expect(await offered("help", "demo", "")).toEqual([]);
  });

  it.each(commands)("knows all options of %s", async (name) => {
    const command = program.commands.find((each) => each.name() === name);
    const options = command?.options.map(({ long }) => long) ?? [];
    expect(await offered(name, "--")).toEqual([...options, "--help"]);
  });

  it("knows what an option takes", async () => {
    const formats = program.commands.find((each) => each.name() === "topology")?.options;
    const choices = formats?.find(({ long }) => long === "--format")?.argChoices ?? [];
    expect(choices).toContain("mermaid");
    for (const flag of ["--format", "-f", "-wf"]) expect(await offered("topology", flag, "")).toEqual(choices);
    expect(await offered("topology", "--format=m")).toEqual(["--format=mermaid"]);
    expect(await offered("topology", "--format", "dot", "--by=")).toEqual(["--by=iommu", "--by=group", "--by=bus"]);
    expect(await offered("completion", "")).toEqual(shells);
  });

  it("knows where files and folders go", async () => {
    expect(await offered("faults", "")).toEqual([":files\t"]);
    expect(await offered("topology", "--sysfs", "")).toEqual([":folders\t"]);
    expect(await offered("topology", "--sysfs=x")).toEqual([":folders\t--sysfs="]);
    expect(await offered("demo", "--chip", "")).toEqual([...shippedChips(), ":files\t"]);
  });

  it("knows devices and IOMMUs of the machine that is named, those behind an IOMMU first", async () => {
    const text = await completions(["topology", "--sysfs", sysfs, "--device", ""], program);
    expect(text.trimEnd().split("\n")).toEqual([
      "0000:02:00.0\tPCI 1234:d9e1, group 3, vfio-pci",
      "9030000.dma-port\tplatform, group 11, no driver",
      "0000:00:01.0\tPCI 1234:d9e1, no driver",
    ]);
    expect(await offered("topology", `--sysfs=${sysfs}`, "--device", "0000:02")).toEqual(["0000:02:00.0"]);
    expect(await offered("topology", "-s", sysfs, "--iommu", "")).toEqual(["smmu3.0x0000000009050000"]);
    expect(await offered("topology", "--sysfs", "/no/such", "--device", "")).toEqual([]);
  });

  it("knows the checks", async () => {
    const ids = checks.map(({ id }) => id);
    expect(await offered("doctor", "--explain", "")).toEqual(ids);
    expect(await offered("doctor", "--only", "IOSPAN-MEM")).toEqual(["IOSPAN-MEMLOCK"]);
    expect(await offered("plan", "-s", sysfs, "01:00.0", "90")).toEqual(["9030000.dma-port"]);
    expect(await offered("doctor", "--only", "mem")).toEqual(["memlock"]);
    expect(await offered("doctor", "--only", "IOSPAN-MEMLOCK,IOSPAN-FAU")).toEqual(["IOSPAN-MEMLOCK,IOSPAN-FAULTS"]);
    expect(await offered("doctor", "--only=memlock,fau")).toEqual(["--only=memlock,faults"]);
    expect(await offered("doctor", "--only", "memlock,")).toEqual(ids.map((id) => `memlock,${id}`));
  });

  it("knows devices and IOMMUs of the firmware or the saved machine that is named", async () => {
    const ofChip = await offered("plan", "-t", "dual-smmu", "");
    expect(ofChip.slice(0, 4)).toEqual(expect.arrayContaining(["0000:01:00.0", "9030000.dma-port"]));
    expect(await offered("plan", "--device-tree=dual-smmu", "903")).toEqual(["9030000.dma-port"]);
    expect(await offered("topology", "-t", "dual-smmu", "--iommu", "smmu3.0x000000000c02")).toEqual([
      "smmu3.0x000000000c020000",
    ]);
    expect(await offered("plan", "-m", "-", "")).toEqual([]);
    expect(await offered("plan", "-m", "/no/such.json", "")).toEqual([]);
    expect(await offered("plan", "-i", "/no/such", "")).toEqual([]);
  });

  it("offers a switch once, and nothing but arguments after --", async () => {
    expect(await offered("topology", "--json", "--js")).toEqual([]);
    expect(await offered("faults", "--", "--js")).toEqual([":files\t"]);
    expect(await offered("topology", "--", "")).toEqual([]);
  });

  it("never fails, whatever the words", async () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom(...commands, "help", "--", "-", "--format", "-wf", "--sysfs=", "--by="),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 6 }), async (words) => {
        const current = words.at(-1) ?? "";
        for (const line of (await completions(words, program)).split("\n").slice(0, -1)) {
          expect(line.startsWith(":") || line.startsWith(current)).toBe(true);
        }
      }),
    );
  });
});

/** Whether there is a shell to try a script in. */
const has = (shell: string) => spawnSync(shell, ["-c", "exit 0"]).status === 0;

/** Something that answers as the command does, since the sources run here and not there. */
async function scriptFor(shell: string, line: readonly string[]): Promise<{ script: string; bin: string }> {
  const bin = mkdtempSync(path.join(folder, "bin-"));
  const script = path.join(bin, `script.${shell}`);
  writeFileSync(script, (await capture(["completion", shell])).stdout);
  writeFileSync(path.join(bin, "answer"), (await capture(["__complete", ...line])).stdout);
  const expected = ["__complete", ...line].map((word) => `'${word}'`).join(" ");
  writeFileSync(
    path.join(bin, "iospan"),
    `#!/bin/sh\nprintf '<%s>' "$@" > ${bin}/asked\nprintf '<%s>' ${expected} > ${bin}/expected\n` +
      `cmp -s ${bin}/asked ${bin}/expected && cat ${bin}/answer || echo "asked: $(cat ${bin}/asked)"\n`,
  );
  chmodSync(path.join(bin, "iospan"), 0o755);
  return { script, bin };
}

function run(shell: string, args: readonly string[], bin: string): readonly string[] {
  const env = { ...process.env, PATH: `${bin}:${process.env["PATH"]}` };
  const text = execFileSync(shell, args, { cwd: folder, env, encoding: "utf8" });
  return text.split("\n").filter((line) => line !== "");
}

describe.skipIf(!has("bash"))("the script for bash", () => {
  /** @param words as bash breaks them: at = and :, too */
  async function replies(words: readonly string[], asked: readonly string[]): Promise<readonly string[]> {
    const { script, bin } = await scriptFor("bash", asked);
    const quoted = ["iospan", ...words].map((word) => `'${word}'`).join(" ");
    const program = `source ${script}; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _iospan iospan; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run("bash", ["--norc", "-c", program], bin);
  }

  it.each([
    [["topo"], ["topo"], ["topology"]],
    [["topology", "--format", "d"], ["topology", "--format", "d"], ["dot"]],
    [["topology", "--format", "=", "d"], ["topology", "--format=d"], ["dot"]],
    [
      ["topology", "--by", "="],
      ["topology", "--by="],
      ["iommu", "group", "bus"],
    ],
    [["topology", "-w", "--for"], ["topology", "-w", "--for"], ["--format"]],
    [["faults", "sy"], ["faults", "sy"], ["sys"]],
    [["topology", "--sysfs", "sys/b"], ["topology", "--sysfs", "sys/b"], ["sys/bus"]],
    [["topology", "--sysfs", "=", "sys/b"], ["topology", "--sysfs=sys/b"], ["sys/bus"]],
  ])("completes %j", async (words, asked, expected) => {
    expect(await replies(words, asked)).toEqual(expected);
  });

  it("completes devices, whose colons break words", async () => {
    const machine = ["topology", "--sysfs", sysfs, "--device"];
    expect(await replies([...machine, "0000", ":", "02", ":"], [...machine, "0000:02:"])).toEqual(["00.0"]);
    expect(await replies([...machine, "0000", ":", "0"], [...machine, "0000:0"])).toEqual(["02:00.0", "00:01.0"]);
    expect(await replies([...machine, "9030"], [...machine, "9030"])).toEqual(["9030000.dma-port"]);
  });

  it("is taken by bash for iospan", async () => {
    const { script, bin } = await scriptFor("bash", [""]);
    expect(run("bash", ["--norc", "-c", `source ${script}; complete -p iospan`], bin)).toEqual([
      "complete -F _iospan iospan",
    ]);
  });
});

// Skipped where there is no fish to run it.
describe.skipIf(!has("fish"))("the script for fish", () => {
  it.each([
    ["iospan topo", ["topo"], ["topology\twhich devices are behind which IOMMU, here or in a file"]],
    ["iospan topology --format d", ["topology", "--format", "d"], ["dot"]],
    ["iospan faults sy", ["faults", "sy"], ["sys/"]],
    ["iospan topology --sysfs=sy", ["topology", "--sysfs=sy"], ["--sysfs=sys/"]],
  ])("completes %s", async (line, asked, expected) => {
    const { script, bin } = await scriptFor("fish", asked);
    const replies = run("fish", ["--no-config", "-c", `source ${script}; complete -C '${line}'`], bin);
    // Of files some versions say what they are, some do not.
    expect(replies.map((reply) => reply.replace(/\/\t.*$/, "/"))).toEqual(expected);
  });
});

// Skipped where there is no zsh to run it. Its completion runs in its line editor alone: what it would be told is looked at.
describe.skipIf(!has("zsh"))("the script for zsh", () => {
  const told =
    "compadd() { print -rl -- $values }; _files() { print files $* }; compset() { print compset $* }; compdef() {}";

  it.each([
    [["topo"], ["topology"]],
    [
      ["topology", "--format", ""],
      ["tree", "json", "mermaid", "dot", "svg"],
    ],
    [
      ["topology", "--sysfs=x"],
      ["compset -P 1 *=", "files -/"],
    ],
    [["faults", ""], ["files"]],
  ])("completes %j", async (words, expected) => {
    const { script, bin } = await scriptFor("zsh", words);
    const quoted = ["iospan", ...words].map((word) => `'${word}'`).join(" ");
    const program = `${told}; source ${script}; words=(${quoted}); CURRENT=${words.length + 1}; _iospan`;
    expect(run("zsh", ["-f", "-c", program], bin)).toEqual(expected);
  });
});
