import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../../src/cli/chip-file.js";
import { Folder } from "../../../src/cli/machine/folder.js";
import { encodeBlob } from "../../../src/devicetree/blob-writer.js";
import { readDeviceTree } from "../../../src/devicetree/device-tree.js";
import { iova } from "../../../src/iova.js";
import type { MachineFiles } from "../../../src/machine/machine-files.js";
import { machineOne } from "../../../src/sim/linux/machine-one.js";
import { simulate } from "../../../src/sim/simulate.js";
import { askGroups, withAnswers, withLog } from "../../../src/survey/ask-groups.js";
import { formatSavedMachine } from "../../../src/survey/saved/format-saved-machine.js";
import { parseSavedMachine } from "../../../src/survey/saved/parse-saved-machine.js";
import { RecordingFiles } from "../../../src/survey/saved/recording-files.js";
import { saveMachine } from "../../../src/survey/saved/save-machine.js";
import { contentOf, recordMachine, type SavedContent } from "../../../src/survey/saved/saved-machine.js";
import type { GroupAnswer } from "../../../src/survey/survey.js";
import { surveyMachine } from "../../../src/survey/survey-machine.js";
import { SyscallError } from "../../../src/syscalls/syscalls.js";
import { twoSmmuBoard } from "../../machine/support/sysfs-tree.js";
import { errorOf, refusalOf } from "../../support/errors.js";
import { deniedFiles } from "../support/denied-files.js";

const MADE = { taken: "2026-01-02T03:04:05.678Z", iospan: "0.1.0" };
const chip = (name: string) => readChip(name).content;

const tree = twoSmmuBoard();
// As devices of buses that have none.
tree.remove("/sys/devices/platform/9030000.dma-port/driver_override");
afterAll(() => tree[Symbol.dispose]());

/** The machine's text, and read again. */
function saved(files: MachineFiles) {
  const text = saveMachine(files, MADE);
  return { text, machine: parseSavedMachine(text, "board.json") };
}

/** As a live machine's: with permissions, and with firmware. */
function likeLive(files: MachineFiles, blob: Uint8Array): MachineFiles {
  const inner = deniedFiles(files, () => undefined);
  return {
    ...inner,
    readBytes: (path) => (path === "/sys/firmware/fdt" ? blob : inner.readBytes(path)),
    status: (path) => ({ mode: path === "/dev/vfio/vfio" ? 0o20666 : 0o20600, uid: 0, gid: 106 }),
  };
}

const machines: readonly (readonly [string, () => MachineFiles])[] = [
  ...["dual-smmu", "three-iommus", "two-pcie", "unequal-granules"].map(
    (name) => [name, () => simulate(chip(name), { drivers: "vfio" }).syscalls] as const,
  ),
  ["dual-smmu without iommufd", () => simulate(chip("dual-smmu"), { iommufd: false, release: "5.10" }).syscalls],
  ["the first machine of the laboratory", () => machineOne()],
  ["a board's sysfs", () => new Folder(tree.host("/sys"))],
  ["a board's files", () => new Folder({ root: tree.root, sysfs: tree.host("/sys") })],
  [
    "a closed kernel",
    () =>
      deniedFiles(simulate(chip("dual-smmu")).syscalls, (path) => (path.startsWith("/proc") ? "EACCES" : undefined)),
  ],
  [
    "a kernel with permissions and firmware",
    () =>
      likeLive(
        simulate(chip("dual-smmu"), { drivers: "vfio" }).syscalls,
        encodeBlob(readDeviceTree(chip("dual-smmu"))),
      ),
  ],
];

describe("a saved machine", () => {
  it.each(machines)("surveys as the machine did: %s", (_, open) => {
    const files = open();
    const { machine, text } = saved(files);
    const names = surveyMachine(files).topology.devices.map(({ name }) => name);
    expect(names.length).toBeGreaterThan(1);
    for (const devices of ["all", [], names.slice(0, 2), [names.at(-1) ?? ""]] as const) {
      expect(machine.survey({ devices })).toEqual(surveyMachine(files, { devices }));
    }
    expect(machine.topology()).toEqual(surveyMachine(files).topology);
    expect(saved(files).text).toBe(text);
  });

  it("keeps what is not in files: who holds groups, what the kernel answered, its log", async () => {
    const board = simulate(chip("unequal-aperture"), { drivers: "vfio" });
    const fd = board.syscalls.open("/dev/vfio/1", 2);
    const { survey, recorded } = recordMachine(board.syscalls);
    const answers = new Map(await askGroups(board, survey));
    answers.set(9, { asked: "refused", code: "ERR_IOSPAN_SYSCALL", message: "no", errno: 5, hint: "ask again" });
    const full = withLog(withAnswers(survey, answers), ["[    0.000000] Booting Linux", "\u001b[1mcolours"]);
    board.syscalls.close(fd);
    expect([...(full.kernel?.groups.values() ?? [])].map(({ answer }) => answer?.asked)).toContain("answered");
    expect(full.kernel?.groups.get(1)?.holders).toEqual([{ pid: 4711, command: "node" }]);
    const text = formatSavedMachine(contentOf({ survey: full, recorded }, MADE));
    expect(parseSavedMachine(text, "x").survey({ devices: "all" })).toEqual(full);
    const log = full.kernel?.log;
    const unheld = parseSavedMachine(saveMachine(board.syscalls, { ...MADE, answers, log }), "x").survey({
      devices: "all",
    });
    const answer = (survey: typeof full) => [...(survey.kernel?.groups ?? [])].map(([id, group]) => [id, group.answer]);
    expect(answer(unheld)).toEqual(answer(full));
    expect(unheld.kernel?.log).toEqual(log);
    // Whose descriptors lead where is not in it.
    expect(text).not.toContain("/proc/4711");
  });

  it("says what it does not know, and does not take it for absent", () => {
    const { machine } = saved(simulate(chip("dual-smmu")).syscalls);
    const { files } = machine;
    for (const read of ["readFile", "readBytes", "readDirectory", "readLink"] as const) {
      expect(errorOf(() => files[read]("/sys/new/attribute"))).toMatchObject({
        code: "ERR_IOSPAN_SAVED_MACHINE",
        message: "board.json does not tell of /sys/new/attribute, which was not read when the machine was saved",
        hint: expect.stringContaining("again"),
      });
    }
    expect(files.status).toBeUndefined();
    expect(refusalOf(() => files.readBytes("/sys/firmware/fdt"))).toMatchObject({ errno: 2, syscall: "openat" });
  });

  it("of an older iospan lacks facts, has the rest, and says so", () => {
    const { syscalls } = simulate(chip("dual-smmu"), { drivers: "vfio" });
    const whole = JSON.parse(saved(syscalls).text);
    delete whole.files["/proc/meminfo"];
    delete whole.directories["/sys/kernel/mm/hugepages"];
    delete whole.files["/sys/bus/pci/devices/0000:01:00.0/modalias"];
    delete whole.links["/sys/bus/platform/devices/9030000.dma-port/iommu"];
    const older = parseSavedMachine(JSON.stringify(whole), "old.json");
    const { kernel, topology } = older.survey();
    const live = surveyMachine(syscalls);
    expect(kernel).toEqual({ ...live.kernel, memory: undefined, hugePages: new Map() });
    const note = (count: number) => ({
      id: "saved-incomplete",
      severity: "note",
      text: expect.stringMatching(new RegExp(`^old.json, saved by iospan 0.1.0, lacks ${count} of the files`)),
    });
    expect(topology.findings).toEqual([...live.topology.findings, note(7)]);
    expect(older.topology().findings).toEqual([...live.topology.findings, note(5)]);
    const devices = (all: typeof live.topology) => all.devices.map(({ name, links }) => [name, links.length]);
    // Where the modalias is missing, three other files are asked for.
    const port = devices(live.topology).findIndex(([name]) => name === "9030000.dma-port");
    expect(devices(topology)).toEqual(devices(live.topology).with(port, ["9030000.dma-port", 0]));
  });

  it("is small for a large machine", () => {
    const functions = 2000;
    const { text } = saved(largeMachine(functions));
    // 0.8 KB for each function; less than a tenth of it when it is compressed.
    expect(text.length / functions).toBeLessThan(1000);
    expect(parseSavedMachine(text, "x").topology().devices).toHaveLength(functions);
  });
});

/** PCI functions that are each in a group. */
function largeMachine(functions: number): MachineFiles {
  const names = Array.from(
    { length: functions },
    (_, index) => `0000:${(index >> 5).toString(16).padStart(2, "0")}:${(index & 31).toString(16).padStart(2, "0")}.0`,
  );
  const entries = [
    "driver",
    "driver_override",
    "iommu",
    "iommu_group",
    "modalias",
    "numa_node",
    "reset",
    "reset_method",
    "subsystem",
  ];
  const directories = new Map<string, readonly string[]>([
    ["/sys/class", ["iommu"]],
    ["/sys/class/iommu", ["dmar0"]],
    ["/sys/bus/pci/devices", names],
    ["/sys/kernel/iommu_groups", names.map((_, index) => String(index))],
    ...names.map((name) => [`/sys/bus/pci/devices/${name}`, entries] as const),
    ...names.map((name, index) => [`/sys/kernel/iommu_groups/${index}/devices`, [name]] as const),
  ]);
  const texts: Readonly<Record<string, string>> = {
    modalias: "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n",
    driver_override: "(null)\n",
    reset_method: "flr bus\n",
    type: "DMA-FQ\n",
    reserved_regions: "0x00000000fee00000 0x00000000feefffff msi\n",
  };
  const file = (path: string) => texts[path.slice(path.lastIndexOf("/") + 1)] ?? missing(path);
  const link = (path: string) => {
    const [, name = "", last] = /^\/sys\/bus\/pci\/devices\/([^/]+)(?:\/(.*))?$/.exec(path) ?? [];
    if (last === "iommu_group") return `../../../kernel/iommu_groups/${names.indexOf(name)}`;
    if (last === "iommu") return "../../virtual/iommu/dmar0";
    if (last === "driver") return "../../../bus/pci/drivers/nvme";
    return last === undefined && name !== "" ? `../../../devices/pci0000:00/${name}` : missing(path);
  };
  return {
    readFile: file,
    readBytes: (path) => new TextEncoder().encode(file(path)),
    readDirectory: (path) => directories.get(path) ?? missing(path),
    readLink: link,
  };
}

function missing(path: string): never {
  throw new SyscallError("openat", 2, "ENOENT", path);
}

describe("recording", () => {
  it("changes no answer and no refusal", () => {
    const { syscalls } = simulate(chip("dual-smmu"));
    const recording = new RecordingFiles(syscalls);
    expect(recording.status).toBeUndefined();
    expect(recording.readFile("/proc/self/comm")).toBe("node\n");
    expect(recording.readLink("/proc/self")).toBe("4711");
    expect(recording.readDirectory("/dev/vfio")).toEqual(syscalls.readDirectory("/dev/vfio"));
    const refusal = refusalOf(() => recording.readBytes("/nothing"));
    expect(refusal).toEqual(refusalOf(() => syscalls.readBytes("/nothing")));
    expect(recording.files.get("/nothing")).toEqual({ refused: "ENOENT" });
  });

  it("asks who may do what of the machine itself", () => {
    class Files {
      readonly mode = 0o100600;
      status() {
        return { mode: this.mode, uid: 1, gid: 2 };
      }
    }
    const inner = Object.assign(new Files(), {
      readFile: missing,
      readBytes: missing,
      readDirectory: missing,
      readLink: missing,
    });
    const recording = new RecordingFiles(inner);
    expect(recording.status?.("/dev/iommu")).toEqual({ mode: 0o100600, uid: 1, gid: 2 });
    expect(recording.statuses.size).toBe(1);
  });
});

describe("the file of a saved machine", () => {
  const path = fc.string({ unit: "binary" });
  const refused = fc.constantFrom("ENOENT", "EACCES", "EPERM", "errno 4711").map((each) => ({ refused: each }));
  const text = fc.string({ unit: "binary" });
  // What a directory can have in it.
  const name = text.filter((each) => each !== "" && !/[/\0]/.test(each));
  const integer = fc.nat();
  const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const answer: fc.Arbitrary<GroupAnswer> = fc.oneof(
    fc.record({
      asked: fc.constant("answered" as const),
      by: fc.constantFrom("type1", "iommufd"),
      pageSizes: word,
      ranges: fc.array(fc.record({ start: word.map(iova), end: word.map(iova) })),
      entries: fc.option(integer, { nil: undefined }),
    }),
    fc.record({
      asked: fc.constant("refused" as const),
      code: text,
      message: text,
      errno: fc.option(integer, { nil: undefined }),
      hint: text,
    }),
    fc.record({ asked: fc.constant("not asked" as const), why: text }),
    fc.record({ asked: fc.constant("not asked" as const), why: text, isIommufd: fc.constant(true as const) }),
  );
  const mapOf = <T>(value: fc.Arbitrary<T>) => fc.array(fc.tuple(path, value)).map((entries) => new Map(entries));
  const groupsOf = <T>(value: fc.Arbitrary<T>) => fc.array(fc.tuple(integer, value)).map((entries) => new Map(entries));
  const content: fc.Arbitrary<SavedContent> = fc.record({
    taken: text,
    iospan: text,
    recorded: fc.record({
      files: mapOf(fc.oneof(text, fc.uint8Array(), refused)),
      directories: mapOf(fc.oneof(fc.array(name), refused)),
      links: mapOf(fc.oneof(text, refused)),
      statuses: mapOf(fc.oneof(fc.record({ mode: integer, uid: integer, gid: integer }), refused)),
    }),
    holders: groupsOf(fc.array(fc.record({ pid: integer, command: text }))),
    answers: groupsOf(answer),
    log: fc.option(fc.array(text), { nil: undefined }),
  });
  /** Bytes that are text are as good as the text. */
  const asBytes = (files: SavedContent["recorded"]["files"]) =>
    [...files]
      .map(([key, value]) => [key, typeof value === "string" ? new TextEncoder().encode(value) : value] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));

  it("has all of what it was made of", () => {
    fc.assert(
      fc.property(content, (made) => {
        const read = parseSavedMachine(formatSavedMachine(made), "x").content;
        expect(asBytes(read.recorded.files)).toEqual(asBytes(made.recorded.files));
        const without = ({ recorded, ...rest }: SavedContent) => ({
          ...rest,
          recorded: { ...recorded, files: undefined },
        });
        expect(without(read)).toEqual(without(made));
      }),
    );
  });

  it.each([
    ["", "is no saved machine: it is not JSON"],
    ["[]", "is no saved machine: it is not an object"],
    ["null", "is no saved machine: it is not an object"],
    ['{"iommus": []}', 'is no saved machine: its "format" is not "iospan-machine"'],
    ['{"format": "iospan-machine", "version": "1"}', 'is damaged: its "version"'],
    ['{"format": "iospan-machine", "version": 0}', 'is damaged: its "version"'],
    ['{"format": "iospan-machine", "version": 1}', 'is damaged: its "listings"'],
  ])("is refused when it is %j", (file, message) => {
    expect(errorOf(() => parseSavedMachine(file, "board.json"))).toMatchObject({
      code: "ERR_IOSPAN_SAVED_MACHINE",
      message: expect.stringContaining(`board.json ${message}`),
    });
  });

  it("is refused when a later iospan wrote it", () => {
    const later = JSON.stringify({ format: "iospan-machine", version: 2, iospan: "9.9.9" });
    expect(errorOf(() => parseSavedMachine(later, "board.json"))).toMatchObject({
      message: "board.json has version 2 of the format, and this iospan reads up to 1",
      hint: "use the iospan that saved it, 9.9.9, or a later one",
    });
  });

  it("is refused when a part of it is missing", () => {
    const whole = JSON.parse(saved(simulate(chip("dual-smmu")).syscalls).text);
    for (const section of Object.keys(whole)) {
      const { [section]: _, ...rest } = whole;
      const error = errorOf(() => parseSavedMachine(JSON.stringify(rest), "x"));
      expect(error.code, section).toBe("ERR_IOSPAN_SAVED_MACHINE");
    }
  });

  it("is refused when any part of it is not what belongs there", () => {
    const { syscalls } = simulate(chip("dual-smmu"));
    const { survey, recorded } = recordMachine(likeLive(syscalls, chip("dual-smmu")));
    const answers = new Map<number, GroupAnswer>([
      [1, { asked: "answered", by: "type1", pageSizes: 4096n, ranges: [{ start: iova(0), end: iova(9) }], entries: 1 }],
      [2, { asked: "refused", code: "c", message: "m", errno: 1, hint: "h" }],
    ]);
    const held = { ...contentOf({ survey: withLog(survey, ["x"]), recorded }, MADE), answers };
    const whole = formatSavedMachine({ ...held, holders: new Map([[1, [{ pid: 1, command: "init" }]]]) });
    const places = leaves(JSON.parse(whole)).filter(([first, , last]) => first !== "listings" || last === 0);
    expect(places.length).toBeGreaterThan(100);
    for (const place of places) {
      // What is not there may be of a path that was not read.
      const isField = place.length === 1;
      for (const wrong of [null, true, {}, [], -1.5, ...(isField ? [undefined] : [])]) {
        const document = JSON.parse(whole);
        put(document, place, wrong);
        const error = errorOf(() => parseSavedMachine(JSON.stringify(document), "x"));
        expect(error.code, place.join(" ")).toBe("ERR_IOSPAN_SAVED_MACHINE");
      }
    }
  });
});

type Place = readonly (string | number)[];

/** Where values are in a document. */
function leaves(value: unknown, place: Place = []): readonly Place[] {
  if (typeof value !== "object" || value === null) return [place];
  return Object.entries(value).flatMap(([key, item]) =>
    leaves(item, [...place, Array.isArray(value) ? Number(key) : key]),
  );
}

function put(document: unknown, place: Place, value: unknown): void {
  const last = place.at(-1) ?? "";
  const parent = place.slice(0, -1).reduce((at, key) => Reflect.get(at as object, key), document);
  Reflect.set(parent as object, last, value);
}
