import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { simulate } from "iospan";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { openExplainer } from "../../../src/cli/faults/explainer.js";
import * as machineTopology from "../../../src/cli/machine/read-topology.js";
import { packageFile } from "../../../src/cli/package-files.js";
import { IospanError } from "../../../src/errors.js";
import { readFaults } from "../../../src/faults/fault-reader.js";
import { withLog } from "../../../src/survey/ask-groups.js";
import { formatSavedMachine } from "../../../src/survey/saved/format-saved-machine.js";
import { contentOf, recordMachine } from "../../../src/survey/saved/saved-machine.js";
import { topologyOfDeviceTree } from "../../../src/topology/topology-of-device-tree.js";
import { encodeEvent, rawLines } from "../../faults/support/event-log.js";
import { CopiedSysfs } from "../../topology/support/copied-sysfs.js";
import { capture } from "../support/captured.js";

vi.mock("../../../src/cli/machine/read-topology.js", { spy: true });

const folder = mkdtempSync(path.join(tmpdir(), "iospan-explainer-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
  vi.clearAllMocks();
});

const chip = readFileSync(packageFile("chips/dual-smmu.dts"));
const tree = topologyOfDeviceTree(chip, "chip");
const PORT = "9030000.dma-port";
const lines = rawLines(encodeEvent({ id: 0x10, streamId: 0x42, inputAddress: 0x1000n, class: 2 }), "c020000.iommu");
const fault = readFaults(lines).faults[0]!;
const named = expect.stringMatching(/^9030000\.dma-port wrote to 0x1000/);

function file(name: string, content: string): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

const log = file("kernel.log", `${lines.join("\n")}\n`);

/** A saved machine, with the log that it had. */
function saved(kernelLog: readonly string[] | undefined): string {
  const { survey, recorded } = recordMachine(simulate(chip, { drivers: "vfio" }).syscalls);
  const whole = { survey: withLog(survey, kernelLog), recorded };
  return file(
    `machine-${kernelLog?.length}.json`,
    formatSavedMachine(contentOf(whole, { taken: "2026-11-23T00:00:00Z", iospan: "0" })),
  );
}

describe("whose a fault is", () => {
  it("is not asked of this machine for a log that may be another's", async () => {
    const read = vi.mocked(machineTopology.readTopology);
    for (const name of [log, "-"]) {
      const { explain } = await openExplainer(name, {});
      expect(explain(fault).origin).toBeUndefined();
    }
    expect(read).not.toHaveBeenCalled();
  });

  it.each([undefined, "/dev/kmsg"])(
    "is asked of this machine for its own log (%s), when there is a fault, once",
    async (own) => {
      const read = vi.mocked(machineTopology.readTopology).mockReturnValue(tree);
      const { explain } = await openExplainer(own, {});
      expect(read).not.toHaveBeenCalled();
      expect(explain(fault).summary).toEqual(named);
      expect(explain(fault).summary).toEqual(named);
      expect(read).toHaveBeenCalledTimes(1);
      expect(read).toHaveBeenCalledWith({});
    },
  );

  it("is asked again of a machine that may have changed since", async () => {
    const read = vi.mocked(machineTopology.readTopology).mockReturnValue(tree);
    const now = vi.spyOn(performance, "now").mockReturnValue(5000);
    const { explain } = await openExplainer(undefined, {});
    explain(fault);
    now.mockReturnValue(5900);
    explain(fault);
    expect(read).toHaveBeenCalledTimes(1);
    now.mockReturnValue(6100);
    explain(fault);
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("is left open where this machine cannot be read", async () => {
    vi.mocked(machineTopology.readTopology).mockImplementation(() => {
      throw new IospanError("ERR_IOSPAN_NO_IOMMU", "no sysfs", { hint: "x" });
    });
    const { explain } = await openExplainer(undefined, {});
    expect(explain(fault)).toMatchObject({ origin: undefined, meaning: expect.stringContaining("Nothing is mapped") });
  });

  it("is asked of firmware that was named", async () => {
    const { stdout } = await capture(["faults", log, "--device-tree", "dual-smmu"]);
    expect(stdout).toContain(`1  ${PORT} wrote to 0x1000: nothing is mapped there`);
    expect(stdout).toContain(`device  ${PORT}\n`);
  });

  it("is asked of a copied sysfs, with its firmware", async () => {
    using copy = new CopiedSysfs(simulate(chip, { drivers: "vfio" }).syscalls);
    const { stdout } = await capture(["faults", log, "--sysfs", copy.folder, "--device-tree", "dual-smmu", "--json"]);
    const [group] = JSON.parse(stdout).groups;
    expect(group.summary).toEqual(named);
    expect(group.origin).toEqual({
      iommu: "smmu3.0x000000000c020000",
      from: "ids",
      devices: [{ name: PORT, path: `/sys/bus/platform/devices/${PORT}`, driver: "vfio-platform", group: 2 }],
      text: `${PORT} (driver vfio-platform, group 2)`,
    });
    expect(group.fault.device).toEqual({ name: "0000:00:08.2", from: "stream" });
  });

  it("is told as faults come, too", async () => {
    const stream = Readable.from([`${lines.join("\n")}\n`.repeat(2)]);
    vi.spyOn(process, "stdin", "get").mockReturnValue(stream as unknown as typeof process.stdin);
    const { stdout } = await capture(["faults", "--follow", "-", "--device-tree", "dual-smmu"]);
    expect(stdout).toContain(`1  ${PORT} wrote to 0x1000: nothing is mapped there`);
    expect(stdout).toContain(`again  ${PORT} wrote to 0x1000`);
  });
});

describe("a saved machine", () => {
  it("has its log with it", async () => {
    const machine = saved(lines);
    const { exitCode, stdout } = await capture([
      "faults",
      "--machine",
      machine,
      "--device-tree",
      "dual-smmu",
      "--json",
    ]);
    expect(exitCode).toBe(1);
    const { source, groups } = JSON.parse(stdout);
    expect(source).toBe("the saved machine's log");
    expect(groups[0].summary).toEqual(named);
    const other = await capture(["faults", file("empty.log", "nothing\n"), "--machine", machine]);
    expect(other.exitCode).toBe(0);
  });
});

describe("sources that do not go with the log", () => {
  it("are refused", async () => {
    using copy = new CopiedSysfs(simulate(chip).syscalls);
    const cases: readonly (readonly [readonly string[], string, string])[] = [
      [["--machine", saved(undefined)], "is another machine, and comes without its kernel log", "name the log, too"],
      [["--sysfs", copy.folder], "is another machine, and comes without its kernel log", "name the log, too"],
      [["--follow", "--machine", saved([])], "--follow cannot follow the log of a saved machine", "leave out --follow"],
      [["--machine", "-", "-"], "the log and the machine cannot both be the standard input", "into a file"],
      [["--iort", "no-such-table", log], "cannot read the table no-such-table", "binary ACPI table"],
      [["--sysfs", "a", "--machine", "b", log], "are two machines", "--sysfs or --machine"],
    ];
    for (const [argv, message, hint] of cases) {
      const { exitCode, stdout, stderr } = await capture(["faults", ...argv]);
      expect({ argv, exitCode, stdout }).toEqual({ argv, exitCode: 2, stdout: "" });
      expect(stderr.replace(/\n {7}/g, " ")).toContain(message);
      expect(stderr.replace(/\n {7}/g, " ")).toContain(hint);
    }
  });
});
