import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { DualPathEngine, IoAddressSpace, iova, simulate } from "iospan";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";
import { widthOf } from "../../src/cli/text/width.js";
import { encodeEvent, rawLines } from "../faults/support/event-log.js";
import { capture } from "./support/captured.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-faults-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.restoreAllMocks());

function log(...lines: readonly string[]): string {
  const file = path.join(folder, "kernel.log");
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

const timed = (lines: readonly string[], second: number) => lines.map((line) => `[   ${second}.000000] ${line}`);
const event = (streamId: number, inputAddress: bigint, read = true) =>
  rawLines(encodeEvent({ id: 0x10, streamId, inputAddress, read, class: 2 }));
const READ = event(0x200, 0x6000_0000n);
const WRITE = "DMAR: [DMA Write NO_PASID] Request device [0000:00:02.0] fault addr 0x1000 [fault reason 0x05] x";
const LOST = "arm-smmu-v3 a.iommu: EVTQ overflow detected -- events lost";

/** The standard input, as a pipe would be. */
function input(...parts: readonly string[]): void {
  const stream = Readable.from(parts.map((part) => Buffer.from(part)));
  vi.spyOn(process, "stdin", "get").mockReturnValue(stream as unknown as typeof process.stdin);
}

describe("iospan faults", () => {
  it("counts what repeats and explains it", async () => {
    const file = log("[    1.000000] Booting", ...timed(READ, 12), ...timed(event(0x200, 0x6000_0008n), 13));
    const { exitCode, stdout, stderr } = await capture(["faults", file]);
    expect(exitCode).toBe(1);
    expect(stderr).toBe("");
    expect(stdout).toContain("2 IOMMU faults in ");
    expect(stdout).toContain("1 different");
    expect(stdout.replace(/\n {3}(?=\S)/g, " ")).toContain(
      "1  StreamID 0x200 (0000:02:00.0, if that is its PCI address) read 0x60000000: nothing is mapped there  2 times",
    );
    expect(stdout).toContain("event   F_TRANSLATION  arm-smmu-v3.0.auto  StreamID 0x200");
    expect(stdout).toContain("access  read at 0x60000000, unprivileged, data, stage 1");
    expect(stdout).toContain("when    12.000000 s to 13.000000 s, lines 2 to 7");
    expect(stdout).toContain("means   Nothing is mapped at that address");
    expect(stdout).toContain("do      Map the memory");
  });

  it("explains once what several have in common", async () => {
    const { stdout } = await capture(["faults", log(...READ, ...event(0x208, 0x1000n))]);
    expect(stdout.match(/means {3}Nothing is mapped/g)).toHaveLength(1);
    expect(stdout).toContain("means   the same as 1");
  });

  it("tells what the log has not", async () => {
    const { exitCode, stdout } = await capture(["faults", log(LOST, "dmar_fault: 12 callbacks suppressed")]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("no IOMMU faults in ");
    expect(stdout).toContain("!  the IOMMU had no room to record them all");
    expect(stdout).toContain("   dmar_fault: 12 callbacks suppressed");
  });

  it("finds nothing in a log that has nothing", async () => {
    const { exitCode, stdout } = await capture(["faults", log("Booting Linux", "arm-smmu-v3 a.iommu: option x")]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^no IOMMU faults in .*kernel\.log {2}2 lines\n$/);
  });

  it("keeps to 80 columns, whatever is in the log", async () => {
    const client = "x".repeat(200);
    const named = `arm-smmu-v3 a.iommu: event: C_BAD_STE client: ${client} sid: 0x1 ssid: 0x7`;
    const files = [log(...READ, named, WRITE, LOST, `AMD-Vi: Event logged [IO_PAGE_FAULT device=${client}]`)];
    for (const argv of [...files.map((file) => ["faults", file]), ["faults", "--help"]]) {
      const { stdout } = await capture(argv);
      expect(stdout.split("\n").filter((line) => widthOf(line) > 80)).toEqual([]);
    }
  });

  it("has colours on terminals only, and lets no log command one", async () => {
    const evil = `arm-smmu-v3 \u001b[31m: event: C_BAD_STE client: \u001b[2J sid: 0x1 ssid: 0x0`;
    expect((await capture(["faults", log(evil)])).stdout).not.toContain("\u001b");
    expect((await capture(["faults", log(evil)], { terminal: true })).stdout).not.toContain("\u001b[2J");
    expect((await capture(["faults", log(...READ)], { terminal: true })).stdout).toContain("\u001b[1m");
    const plain = await capture(["faults", log(...READ)], { terminal: true, env: { NO_COLOR: "1" } });
    expect(plain.stdout).not.toContain("\u001b");
  });

  it("reads the standard input, in whatever pieces it comes", async () => {
    const text = [...READ, WRITE].join("\n");
    input(text.slice(0, 100), text.slice(100, 101), text.slice(101));
    const { exitCode, stdout } = await capture(["faults", "-"]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("2 IOMMU faults in the standard input");
  });
});

describe("iospan faults --json", () => {
  it("has a shape that does not change", async () => {
    const { exitCode, stdout } = await capture(["faults", log(...timed(READ, 12), WRITE, LOST), "--json"]);
    expect(exitCode).toBe(1);
    const result = JSON.parse(stdout);
    expect(Object.keys(result)).toEqual(["version", "source", "lines", "faults", "groups", "notices"]);
    expect(result).toMatchObject({ version: 1, lines: 7, faults: 2 });
    const [first, second] = result.groups;
    expect(first).toMatchObject({ count: 1, first: { line: 1, time: "12.000000", uptime: 12 } });
    expect(Object.keys(first)).toEqual([
      ...["count", "first", "last", "summary", "meaning", "advice", "origin", "fault"],
    ]);
    expect(first.origin).toBeNull();
    expect(first.fault).toEqual({
      format: "arm-smmu-v3",
      type: "F_TRANSLATION",
      cause: "not-mapped",
      detail: null,
      iommu: "arm-smmu-v3.0.auto",
      device: { name: "0000:02:00.0", from: "stream" },
      streamId: 0x200,
      substreamId: null,
      address: "0x60000000",
      addressUnit: 1,
      access: "read",
      privileged: false,
      instruction: false,
      stage: 1,
      stalled: false,
      intermediateAddress: null,
      fetchAddress: null,
      domain: null,
      record: ["0x0000020000000010", "0x0000020800000000", "0x0000000060000000", "0x0000000000000000"],
    });
    expect(Object.keys(second.fault)).toEqual(Object.keys(first.fault));
    expect(second.first).toEqual({ line: 6, time: null, uptime: null });
    expect(result.notices).toEqual([
      {
        kind: "events-lost",
        iommu: "a.iommu",
        count: null,
        text: LOST,
        line: 7,
        time: null,
        uptime: null,
      },
    ]);
  });

  it("is a document a line when it follows", async () => {
    input(`${[...READ, ...READ, LOST].join("\n")}\n`);
    const { exitCode, stdout } = await capture(["faults", "--follow", "--json", "-"]);
    expect(exitCode).toBe(1);
    const documents = stdout
      .trimEnd()
      .split("\n")
      .map((each) => JSON.parse(each));
    expect(documents.map(({ version, group, notice }) => [version, group?.count, notice?.kind])).toEqual([
      [1, 1, undefined],
      [1, undefined, "events-lost"],
      [1, 2, undefined],
    ]);
  });
});

describe("iospan faults --follow", () => {
  it("tells a fault once, and then only that it came again", async () => {
    input(`${[...READ, ...READ, ...event(0x208, 0x1000n)].join("\n")}\n`);
    const { exitCode, stdout } = await capture(["faults", "-f", "-"]);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^1 {2}StreamID 0x200 /);
    expect(stdout).toMatch(/^again {2}StreamID 0x200 /m);
    expect(stdout).toMatch(/^2 {2}StreamID 0x208 /m);
    expect(stdout).toContain("means   the same as 1");
  });
});

describe("Ctrl-C", () => {
  it("ends following, with what there was until then", async () => {
    const stream = new Readable({ read() {} });
    vi.spyOn(process, "stdin", "get").mockReturnValue(stream as unknown as typeof process.stdin);
    const running = capture(["faults", "--follow", "-"]);
    stream.push(`${READ.join("\n")}\n`);
    await expect.poll(() => stream.readableLength).toBe(0);
    process.emit("SIGINT");
    const { exitCode, stdout, stderr } = await running;
    expect(exitCode).toBe(1);
    expect(stdout).toContain("F_TRANSLATION");
    expect(stderr).toBe("");
    expect(stream.destroyed).toBe(true);
    expect(process.listenerCount("SIGINT")).toBe(0);
  });
});

describe("a log that cannot be read", () => {
  it.each<[readonly string[], string, string]>([
    [["no-such.log"], "cannot read the log no-such.log: there is no such file", "journalctl -k"],
    [["src"], "cannot read the log src: it is a directory", "journalctl -k"],
    [["--follow", "a.log"], "--follow cannot follow the file a.log", "tail -F a.log | iospan faults --follow -"],
    [["a", "b"], "too many arguments", "iospan faults --help"],
    [["--jsn"], "unknown option '--jsn'", "Did you mean --json?"],
  ])("%j is wrong usage", async (argv, message, hint) => {
    const { exitCode, stdout, stderr } = await capture(["faults", ...argv]);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr.replace(/\n {7}/g, " ")).toContain(message);
    expect(stderr.replace(/\n {7}/g, " ")).toContain(hint);
    const json = await capture(["faults", "--json", ...argv]);
    expect(json.exitCode).toBe(2);
    expect(JSON.parse(json.stdout).error.message).toContain(message);
  });
});

describe("the README's faults", () => {
  it("are what the command prints of a real kernel's log", async () => {
    const recorded = new URL("../conformance/recorded-events.json", import.meta.url);
    const [first] = JSON.parse(readFileSync(recorded, "utf8")).recordings;
    const lines: readonly string[] = first.devices["0000:22:00.0"]["a write to a read-only mapping"];
    const { stdout } = await capture(["faults", log(...lines.map((line) => `[   81.204114] ${line}`))]);
    const [, sample = ""] =
      /iospan faults -.*?```\n\n```\n(.*?)```/s.exec(readFileSync(packageFile("README.md"), "utf8")) ?? [];
    expect(sample).toContain("0000:22:00.0");
    expect(stdout).toContain(sample);
  });
});

it("explains what a simulated machine logged of a bad DMA", async () => {
  const machine = simulate(readFileSync(packageFile("chips/dual-smmu.dts")), { drivers: "vfio" });
  const names = { function: "0000:01:00.0", port: "9030000.dma-port" };
  await using space = await IoAddressSpace.open(machine, Object.values(names), { strategy: "mirrored" });
  await using engine = await DualPathEngine.open(space, names, { completion: "poll" });
  await expect(engine.copy(iova(0x4000_0000n), iova(0x4001_0000n), 4096, { via: "port" })).rejects.toThrow();
  const { stdout } = await capture(["faults", log(...machine.kernelLog)]);
  expect(stdout).toContain("9030000.dma-port read 0x40000000: nothing is mapped there");
  expect(stdout).toContain("c020000.iommu  StreamID 0x42");
});
