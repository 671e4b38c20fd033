import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { Folder } from "../../src/cli/machine/folder.js";
import { groupHolders } from "../../src/machine/group-holders.js";
import { simulate } from "../../src/sim/simulate.js";
import { topologyOfMachine } from "../../src/survey/machine-topology.js";
import { RecordingFiles } from "../../src/survey/saved/recording-files.js";
import type { KernelFacts, Survey } from "../../src/survey/survey.js";
import { surveyMachine, surveyOfTopology } from "../../src/survey/survey-machine.js";
import { topologyOfSysfs } from "../../src/topology/sysfs/topology-of-sysfs.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { SysfsTree, twoSmmuBoard } from "../machine/support/sysfs-tree.js";
import { deniedFiles } from "./support/denied-files.js";

const dual = readChip("dual-smmu").content;
const MiB = 2 ** 20;

const tree = twoSmmuBoard();
afterAll(() => tree[Symbol.dispose]());
const board = () => new Folder({ root: tree.root, sysfs: tree.host("/sys") });

function kernelOf({ kernel }: Survey): KernelFacts {
  if (kernel === undefined) throw new Error("no kernel was surveyed");
  return kernel;
}

const facts = (...args: Parameters<typeof surveyMachine>) => kernelOf(surveyMachine(...args));

describe("a survey of a machine", () => {
  it("has its topology, its kernel and the process that asks", () => {
    const { syscalls } = simulate(dual, { drivers: "vfio", release: "7.3.4", hugepages2M: 3, pageSize: 16384 });
    const survey = surveyMachine(syscalls);
    expect(survey.topology).toEqual(topologyOfSysfs({ syscalls }));
    expect(kernelOf(survey)).toMatchObject({
      release: "7.3.4",
      commandLine: "",
      pageSize: 16384,
      memory: 4096 * MiB,
      hugePages: new Map([
        [2 * MiB, { free: 3, total: 3 }],
        [1024 * MiB, { free: 0, total: 0 }],
      ]),
      process: {
        memlock: { soft: 8 * MiB, hard: 8 * MiB },
        locked: 0,
        pinned: 0,
        capabilities: 2n ** 41n - 1n,
        hasAllUsers: true,
        uid: 0,
        groups: [0],
      },
      log: undefined,
    });
  });

  it("has what there is of VFIO", () => {
    const { syscalls } = simulate(dual, { drivers: "vfio", dmaEntryLimit: 100, resetRequired: false });
    const { vfio, groups, devices } = facts(syscalls);
    expect(vfio.drivers).toEqual([
      { bus: "pci", name: "vfio-pci" },
      { bus: "platform", name: "vfio-platform" },
    ]);
    expect(Object.values(vfio.modules)).toEqual([true, true, true, true, true, true]);
    expect(vfio.parameters.get("vfio_iommu_type1.dma_entry_limit")).toBe("100");
    expect(vfio.parameters.get("vfio_platform.reset_required")).toBe("N");
    const nodes = ["/dev/iommu", "/dev/vfio/1", "/dev/vfio/2", "/dev/vfio/vfio"];
    const characterDevices = ["/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"];
    expect([...(vfio.nodes ?? [])]).toEqual([...nodes, ...characterDevices].map((path) => [path, undefined]));
    expect(groups).toEqual(
      new Map([
        [1, { holders: [], answer: undefined }],
        [2, { holders: [], answer: undefined }],
      ]),
    );
    expect(devices.get("/sys/bus/pci/devices/0000:01:00.0")).toEqual({
      driverOverride: "vfio-pci",
      vfioDevice: "vfio0",
      // The simulated kernel has `reset` and no `reset_method`.
      resetMethods: undefined,
      noiommu: false,
    });
  });

  it("tells a kernel that lacks things from one that is not known", () => {
    const without = facts(simulate(dual, { iommufd: false }).syscalls).vfio;
    expect(without.modules).toMatchObject({ vfio: true, iommufd: false });
    expect([...(without.nodes ?? []).keys()]).toEqual(["/dev/vfio/vfio"]);
    expect(facts(simulate(dual, { container: "iommufd" }).syscalls).vfio.modules.vfio_iommu_type1).toBe(false);
    expect(without.containerLink).toBeUndefined();
    expect(facts(simulate(dual, { container: "iommufd-link" }).syscalls).vfio.containerLink).toMatch(/iommu$/);
    using copy = new SysfsTree();
    copy.directory("/sys/class");
    const unknown = facts(new Folder(copy.host("/sys")));
    expect(unknown).toEqual({
      release: undefined,
      commandLine: undefined,
      pageSize: undefined,
      memory: undefined,
      hugePages: new Map(),
      vfio: {
        drivers: undefined,
        modules: {
          vfio: undefined,
          vfio_iommu_type1: undefined,
          vfio_pci: undefined,
          vfio_platform: undefined,
          vfio_platform_base: undefined,
          iommufd: undefined,
        },
        parameters: new Map(),
        nodes: undefined,
        containerLink: undefined,
      },
      process: {
        memlock: undefined,
        locked: undefined,
        pinned: undefined,
        capabilities: undefined,
        hasAllUsers: undefined,
        uid: undefined,
        groups: undefined,
      },
      groups: new Map(),
      devices: new Map(),
      log: undefined,
    });
  });

  it("knows variants of VFIO's drivers, and none where a bus does not list them", () => {
    using other = twoSmmuBoard();
    other.driver("pci", "mlx5_vfio_pci");
    const drivers = () => facts(new Folder(other.host("/sys"))).vfio.drivers;
    expect(drivers()).toEqual([
      { bus: "pci", name: "mlx5_vfio_pci" },
      { bus: "pci", name: "vfio-pci" },
      { bus: "platform", name: "vfio-platform" },
    ]);
    other.remove("/sys/bus/platform/drivers");
    expect(drivers()).toBeUndefined();
    other.remove("/sys/bus/platform");
    expect(drivers()?.map(({ bus }) => bus)).toEqual(["pci", "pci"]);
  });

  it("has the parameters of modules that matter", () => {
    using other = twoSmmuBoard();
    for (const name of [
      "vfio_pci_core/refcnt",
      "arm_smmu_v3/parameters/disable_msipolling",
      "nvme/parameters/io_queue_depth",
    ]) {
      other.file(`/sys/module/${name}`, "N\n");
    }
    const { modules, parameters } = facts(new Folder(other.host("/sys"))).vfio;
    expect([...parameters]).toEqual([["arm_smmu_v3.disable_msipolling", "N"]]);
    expect(modules).toMatchObject({ vfio: false, vfio_pci: false });
  });

  it("has who may open nodes, where the machine's permissions are known", () => {
    const { syscalls } = simulate(dual, { drivers: "vfio" });
    const status = (path: string) => ({ mode: path === "/dev/vfio/vfio" ? 0o20666 : 0o20600, uid: 0, gid: 106 });
    const known = facts({ ...deniedFiles(syscalls, () => undefined), status }).vfio.nodes;
    expect(known?.get("/dev/vfio/vfio")).toEqual({ mode: 0o20666, uid: 0, gid: 106 });
    expect(known?.get("/dev/vfio/1")?.mode).toBe(0o20600);
  });

  it("knows the kernel of the folder it is in, not this one", () => {
    using copy = new SysfsTree();
    copy.directory("/sys/class");
    copy.file("/proc/version", "Linux version 6.1.0-board (builder@host) #1 SMP\n");
    copy.file("/proc/cmdline", "root=/dev/mmcblk0p1 iommu.passthrough=1\n");
    copy.directory("/dev");
    const { release, commandLine, vfio } = facts(new Folder({ root: copy.root, sysfs: copy.host("/sys") }));
    expect({ release, commandLine }).toEqual({
      release: "6.1.0-board",
      commandLine: "root=/dev/mmcblk0p1 iommu.passthrough=1",
    });
    expect(vfio.nodes).toEqual(new Map());
  });

  it("reads the page size of a 32-bit program, and none of nonsense", () => {
    const auxv = (bytes: Uint8Array) => {
      const { syscalls } = simulate(dual);
      const files = deniedFiles(syscalls, () => undefined);
      return facts({ ...files, readBytes: (path) => (path.endsWith("/auxv") ? bytes : files.readBytes(path)) })
        .pageSize;
    };
    expect(auxv(new Uint8Array(Uint32Array.of(16, 0x1f, 6, 65536, 0, 0).buffer))).toBe(65536);
    expect(auxv(new Uint8Array(Uint32Array.of(6, 4097, 0, 0).buffer))).toBeUndefined();
    expect(auxv(Uint8Array.of(6))).toBeUndefined();
  });

  it("knows a process without the capability, and one without limit", () => {
    const { process } = facts(simulate(dual, { capabilities: [], memlock: Number.POSITIVE_INFINITY }).syscalls);
    expect(process.capabilities).toBe(2n ** 41n - 1n - 2n ** 14n);
    expect(process.memlock).toEqual({ soft: Number.POSITIVE_INFINITY, hard: Number.POSITIVE_INFINITY });
    const inContainer = deniedFiles(simulate(dual).syscalls, () => undefined);
    const mapped = { ...inContainer, readFile: (path: string) => replaced(path) ?? inContainer.readFile(path) };
    const replaced = (path: string) => (path === "/proc/self/uid_map" ? "0 100000 65536\n" : undefined);
    expect(facts(mapped).process.hasAllUsers).toBe(false);
  });

  it("has what locks memory now", () => {
    const machine = simulate(dual);
    const status = machine.syscalls.readFile("/proc/self/status").replace(/VmLck:.*/, "VmLck:\t    1024 kB");
    const files = deniedFiles(machine.syscalls, () => undefined);
    const readFile = (path: string) => (path === "/proc/self/status" ? status : files.readFile(path));
    expect(facts({ ...files, readFile }).process).toMatchObject({ locked: MiB, pinned: 0 });
  });
});

describe("the devices of a survey", () => {
  const names = (wanted: readonly string[] | "all") =>
    [...facts(board(), { devices: wanted }).devices.keys()].map((path) => path.slice(path.lastIndexOf("/") + 1));

  it("are those that VFIO has, without being asked", () => {
    expect(names([])).toEqual(["0000:0a:00.0"]);
  });

  it("are those that were asked for, with their groups", () => {
    const group = ["0000:00:02.0", "0000:01:00.0", "0000:01:00.1"];
    const home = "/sys/devices/pci0000:00/0000:00:02.0";
    for (const asked of ["0000:01:00.1", "01:00.0", "/sys/bus/pci/devices/0000:00:02.0", home]) {
      expect(names([asked])).toEqual([...group, "0000:0a:00.0"]);
    }
    expect(names(["dma-port", ""])).toEqual(["0000:0a:00.0", "9030000.dma-port"]);
    expect(names("all")).toHaveLength(8);
  });

  it("are those that VFIO shall have", () => {
    using other = twoSmmuBoard();
    other.file("/sys/devices/pci0000:20/0000:21:00.0/driver_override", "vfio-pci\n");
    const { devices } = facts(new Folder(other.host("/sys")));
    expect(devices.get("/sys/bus/pci/devices/0000:21:00.0")).toMatchObject({ driverOverride: "vfio-pci" });
  });

  it("are found by what firmware calls them", () => {
    using other = twoSmmuBoard();
    const [first, second] = ["/9030000.dma-port", "/pcie@0/x"];
    const firmware = {
      ...topologyOfDeviceTree('/dts-v1/; / { aliases { port = "/9030000.dma-port"; }; };', "board"),
      engines: [{ name: "dma@0,0", interfaces: [first, second] }],
      aliases: new Map([["port", first]]),
    };
    const asked = (text: string) => {
      const { topology, kernel } = surveyMachine(new Folder(other.host("/sys")), {
        devices: [text],
        firmware: [firmware],
      });
      const paths = new Set(kernel?.devices.keys());
      return topology.devices.filter(({ path }) => paths.has(path)).map(({ name }) => name);
    };
    expect(asked("dma@0,0")).toContain("9030000.dma-port");
    expect(asked("no such thing")).toEqual(["0000:0a:00.0"]);
  });

  it("have what resets them, as far as the kernel tells", () => {
    using other = twoSmmuBoard();
    const home = "/sys/devices/pci0000:00/0000:00:02.0/0000:0a:00.0";
    const methods = () =>
      facts(new Folder(other.host("/sys"))).devices.get("/sys/bus/pci/devices/0000:0a:00.0")?.resetMethods;
    expect(methods()).toBe("");
    other.file(`${home}/reset`, "");
    expect(methods()).toBeUndefined();
    other.file(`${home}/reset_method`, "flr bus \n");
    expect(methods()).toBe("flr bus");
    other.file("/sys/devices/platform/9030000.dma-port/driver_override", "vfio-platform\n");
    const { devices } = facts(new Folder(other.host("/sys")));
    expect(devices.get("/sys/bus/platform/devices/9030000.dma-port")?.resetMethods).toBeUndefined();
  });

  it("have a group of VFIO's own where no IOMMU is in front of them", () => {
    using other = twoSmmuBoard();
    other.group(11, "");
    other.file("/sys/kernel/iommu_groups/11/name", "vfio-noiommu\n");
    other.device({ bus: "pci", name: "0000:30:00.0", parent: "pci0000:30", driver: "vfio-pci", group: 11 });
    const { devices } = facts(new Folder(other.host("/sys")));
    expect(devices.get("/sys/bus/pci/devices/0000:30:00.0")?.noiommu).toBe(true);
    expect(devices.get("/sys/bus/pci/devices/0000:0a:00.0")?.noiommu).toBe(false);
  });
});

describe("who holds groups", () => {
  it("is the same that groupHolders tells of each, in one look at all processes", () => {
    using other = twoSmmuBoard();
    other.process(30, "nvmf_tgt", { 3: "/dev/vfio/vfio", 4: "/dev/vfio/9", 5: "/dev/vfio/5" });
    other.process(7, "qemu", { 9: "/dev/vfio/devices/vfio0" });
    other.process(8, "late", { 1: "anon_inode:[vfio-device]", 2: "anon_inode:[eventfd]" });
    other.file("/proc/8/fdinfo/1", "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:02.0/0000:01:00.1\n");
    other.process(9, "cat", { 0: "/dev/null", 1: "/dev/vfio/99" });
    other.file("/proc/10/comm", "no descriptors to be seen\n");
    const files = new Folder({ root: other.root, sysfs: other.host("/sys") });
    const { groups } = facts(files, { devices: "all" });
    expect(groups.get(9)?.holders).toEqual([
      { pid: 7, command: "qemu" },
      { pid: 30, command: "nvmf_tgt" },
    ]);
    expect(groups.get(5)?.holders?.map(({ pid }) => pid)).toEqual([8, 30]);
    const machine = { syscalls: files } as unknown as Parameters<typeof groupHolders>[0];
    for (const [number, { holders }] of groups) expect(holders).toEqual(groupHolders(machine, number));
  });

  it("nobody can tell of a copy without processes", () => {
    expect(facts(board()).groups).toEqual(new Map([[9, { holders: undefined, answer: undefined }]]));
  });
});

describe("what cannot be read", () => {
  it("is not known, and stops nothing", () => {
    const { syscalls } = simulate(dual, { drivers: "vfio" });
    const whole = surveyMachine(syscalls, { devices: "all" });
    const recorded = new RecordingFiles(syscalls);
    const needed = new RecordingFiles(syscalls);
    surveyMachine(recorded, { devices: "all" });
    topologyOfMachine(needed);
    const read = ({ files, directories, links }: RecordingFiles) =>
      [files, directories, links].flatMap((each) => [...each.keys()]);
    const extra = read(recorded).filter((path) => !read(needed).includes(path));
    expect(extra.length).toBeGreaterThan(30);
    for (const path of extra) {
      for (const refusal of ["EACCES", "ENOENT"] as const) {
        const survey = surveyMachine(
          deniedFiles(syscalls, (each) => (each === path ? refusal : undefined)),
          { devices: "all" },
        );
        expect(survey.topology).toEqual(whole.topology);
        // Facts that stem from it are missing, and no others are there.
        expect(Object.keys(kernelOf(survey))).toEqual(Object.keys(kernelOf(whole)));
      }
    }
    const locked = surveyMachine(deniedFiles(syscalls, (path) => (path.startsWith("/proc") ? "EACCES" : undefined)));
    expect(kernelOf(locked)).toMatchObject({ release: undefined, process: { memlock: undefined, uid: undefined } });
    expect(kernelOf(locked).vfio).toEqual(kernelOf(surveyMachine(syscalls)).vfio);
    expect(kernelOf(locked).groups.get(1)?.holders).toBeUndefined();
  });

  it("leaves nodes unknown where their folder is closed", () => {
    const { syscalls } = simulate(dual);
    const closed = deniedFiles(syscalls, (path) => (path === "/dev/vfio" ? "EACCES" : undefined));
    expect(facts(closed).vfio.nodes).toBeUndefined();
    const none = deniedFiles(syscalls, (path) => (path.startsWith("/dev/vfio") ? "ENOENT" : undefined));
    expect([...(facts(none).vfio.nodes ?? []).keys()]).toEqual(["/dev/iommu"]);
  });

  it("is said of firmware", () => {
    const { syscalls } = simulate(dual);
    const closed = deniedFiles(syscalls, (path) => (path === "/sys/firmware/fdt" ? "EACCES" : undefined));
    expect(surveyMachine(closed).topology.findings).toMatchObject([
      { id: "firmware-unread", severity: "note", text: expect.stringContaining("run as root") },
    ]);
    const malformed = { ...deniedFiles(syscalls, () => undefined), readBytes: () => Uint8Array.of(1, 2, 3) };
    const texts = surveyMachine(malformed).topology.findings.map(({ text }) => text);
    expect(texts).toHaveLength(4);
    expect(texts[0]).toMatch(/^\/sys\/firmware\/fdt was left out: /);
  });
});

describe("a survey of firmware", () => {
  it("knows no kernel", () => {
    const topology = topologyOfDeviceTree(dual, "dual-smmu");
    expect(surveyOfTopology(topology)).toEqual({ topology, kernel: undefined });
  });
});
