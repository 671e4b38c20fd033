import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bindDevices, rehearseBinding } from "../../src/binding/bind-devices.js";
import { readBindingStatus } from "../../src/binding/binding-status.js";
import { planBinding } from "../../src/binding/plan-binding.js";
import { memoryStore } from "../../src/binding/record-store.js";
import { rehearseUnbinding, unbindDevices } from "../../src/binding/unbind-devices.js";
import { readChip } from "../../src/cli/chip-file.js";
import { findDevice } from "../../src/machine/devices.js";
import { simulate } from "../../src/sim/simulate.js";
import { errorOf } from "../support/errors.js";
import { BindingBoard, COMPANION, DISK, FIRST, FIRST_HOME, PORT } from "./support.js";

let board: BindingBoard;
beforeEach(() => {
  board = new BindingBoard();
});
afterEach(() => board[Symbol.dispose]());

const driverOf = (name: string) => findDevice(board.kernel.machine, name).driver;
const bind = (...devices: string[]) => bindDevices(board.world, { devices });
const unbind = (...devices: string[]) => unbindDevices(board.world, { devices });
const overrideFile = `/sys/bus/pci/devices/${DISK}/driver_override`;

describe("binding several devices", () => {
  it("takes each to the driver of its bus, and remembers where it was", () => {
    const before = board.tree.snapshot();
    expect(bind("21:00.0", PORT).done).toBe(true);
    expect([DISK, PORT].map(driverOf)).toEqual(["vfio-pci", "vfio-platform"]);
    expect(board.remembered).toEqual({
      [DISK]: { bus: "pci", driver: "vfio-pci", previousDriver: "nvme", previousOverride: null, state: "bound" },
      [PORT]: {
        bus: "platform",
        driver: "vfio-platform",
        previousDriver: "dma-port-driver",
        previousOverride: null,
        state: "bound",
      },
    });
    expect(unbindDevices(board.world, { devices: [], all: true }).done).toBe(true);
    expect(board.tree.snapshot()).toEqual(before);
    expect(board.remembered).toEqual({});
  });

  it("brings the first two back when the third fails", () => {
    board.kernel.rules = {
      ...board.kernel.rules,
      probe: (driver, device) => (driver === "vfio-pci" && device === FIRST ? "EINVAL" : "ok"),
    };
    const before = board.tree.snapshot();
    const error = errorOf(() => bind(DISK, PORT, FIRST));
    expect(error.code).toBe("ERR_IOSPAN_BIND_REFUSED");
    expect(error.message).toContain(`${DISK} and ${PORT} are back where they were`);
    expect(board.tree.snapshot()).toEqual(before);
    expect(board.remembered).toEqual({});
  });

  it("writes down what it is about to do before it does it", () => {
    let noted: unknown;
    board.kernel.rules = {
      probe: () => {
        noted ??= board.remembered[DISK];
        return "ok";
      },
    };
    bind(DISK);
    expect(noted).toMatchObject({ previousDriver: "nvme", state: "intended" });
  });

  it("names a device once, however often it was named", () => {
    expect(bind("21:00.0", DISK).plan.devices.map(({ device }) => device.name)).toEqual([DISK]);
  });

  it("puts back an override that was there", () => {
    board.tree.file(overrideFile, "nvme\n");
    const before = board.tree.snapshot();
    bind(DISK);
    unbind(DISK);
    expect(board.tree.snapshot()).toEqual(before);
  });

  it("leaves a device alone that is there already, and does not take it for its own", () => {
    board.kernel.writes.length = 0;
    expect(bind("0000:0a:00.0").plan.devices).toMatchObject([{ driver: "vfio-pci", already: true }]);
    expect(board.kernel.writes).toEqual([]);
    expect(board.remembered).toEqual({});
  });

  it("keeps the way back when a device goes on to a variant", () => {
    board.tree.driver("pci", "nvme_vfio_pci");
    const before = board.tree.snapshot();
    bind(DISK);
    bindDevices(board.world, { devices: [DISK], driver: "nvme_vfio_pci" });
    expect(board.remembered[DISK]).toMatchObject({ driver: "nvme_vfio_pci", previousDriver: "nvme" });
    unbind(DISK);
    expect(board.tree.snapshot()).toEqual(before);
  });

  it("names near misses of a name that is wrong, before anything changes", () => {
    const error = errorOf(() => bind(DISK, "0000:21:00.1"));
    expect(error.code).toBe("ERR_IOSPAN_NO_DEVICE");
    expect(error.message).toContain(DISK);
    expect(driverOf(DISK)).toBe("nvme");
  });

  it("refuses a bridge, and a driver that is not loaded, with what helps", () => {
    const bridge = bind("0000:00:02.0").plan.refusals;
    expect(bridge).toMatchObject([{ device: "0000:00:02.0", message: expect.stringContaining("is a bridge") }]);
    board.tree.remove("/sys/bus/platform/drivers/vfio-platform");
    const { done, plan } = bind(DISK, PORT);
    expect(done).toBe(false);
    expect(plan.refusals[0]?.hint).toMatch(/modprobe vfio-platform.*--load/);
    expect(driverOf(DISK)).toBe("nvme");
  });

  it("refuses a device without an IOMMU, together with all else that speaks against it", () => {
    const uart = "9000000.pl011";
    board.tree.driver("platform", "uart-pl011");
    board.tree.link(`/sys/devices/platform/${uart}/driver`, "/sys/bus/platform/drivers/uart-pl011");
    const { done, plan } = bind("0000:00:02.0", uart);
    expect(done).toBe(false);
    expect(plan.refusals.map(({ device }) => device)).toEqual(["0000:00:02.0", uart]);
    expect(board.kernel.writes).toEqual([]);
  });

  it("loads a driver that is missing when it may", () => {
    board.tree.remove("/sys/bus/platform/drivers/vfio-platform");
    const loaded: string[] = [];
    const load = (driver: string) => {
      loaded.push(driver);
      board.tree.driver("platform", driver);
    };
    expect(bindDevices({ ...board.world, load }, { devices: [PORT] }).done).toBe(true);
    expect(loaded).toEqual(["vfio-platform"]);
    expect(driverOf(PORT)).toBe("vfio-platform");
  });
});

describe("groups", () => {
  it("names the companions that keep a group from being viable", () => {
    const { plan } = bind(FIRST);
    expect(plan.companions.map(({ name }) => name)).toEqual([COMPANION]);
    expect(driverOf(COMPANION)).toBe("ahci");
  });

  it("says whose group nobody knows, since no driver has had it", () => {
    board.tree.remove(`${FIRST_HOME}/iommu_group`);
    board.tree.remove(`${FIRST_HOME}/driver`);
    const request = { devices: [FIRST, DISK] };
    expect(planBinding(board.world, { ...request, group: true }).ungrouped.map(({ name }) => name)).toEqual([FIRST]);
    expect(planBinding(board.world, request).ungrouped).toEqual([]);
  });

  it("takes the whole group but its bridges", () => {
    const { plan } = bindDevices(board.world, { devices: [FIRST], group: true });
    expect([FIRST, COMPANION, "0000:00:02.0"].map(driverOf)).toEqual(["vfio-pci", "vfio-pci", "pcieport"]);
    expect(plan.leftAlone.map(({ name }) => name)).toEqual(["0000:00:02.0"]);
    expect(plan.companions).toEqual([]);
    unbindDevices(board.world, { devices: [FIRST], group: true });
    expect([FIRST, COMPANION].map(driverOf)).toEqual(["nvme", "ahci"]);
  });

  const mate = (name: string, pciClass: string, driver: string | undefined) => {
    if (driver !== undefined) board.tree.driver("pci", driver);
    const attributes = { vendor: "0x8086", device: "0x1234", class: pciClass };
    const place = { bus: "pci", parent: "pci0000:00/0000:00:02.0", group: 5 } as const;
    board.tree.device({ ...place, name, ...(driver === undefined ? {} : { driver }), attributes });
  };

  it("has companions of PCI's bridge class that are no bridges but end points, with drivers as any", () => {
    mate("0000:00:1f.0", "0x060100", "lpc_ich");
    mate("0000:00:00.0", "0x060000", undefined);
    expect(bind(FIRST).plan.companions.map(({ name }) => name)).toEqual(["0000:00:1f.0", COMPANION]);
    const { plan } = bindDevices(board.world, { devices: [FIRST], group: true });
    expect(plan.companions).toEqual([]);
    expect(["0000:00:1f.0", "0000:00:00.0", "0000:00:02.0"].map(driverOf)).toEqual(["vfio-pci", undefined, "pcieport"]);
    expect(plan.leftAlone.map(({ name }) => name)).toEqual(["0000:00:02.0"]);
  });

  it("is spoilt by a bridge on a driver other than pcieport, which VFIO cannot take", () => {
    mate("0000:00:03.0", "0x060400", "shpchp");
    const { plan, done } = bindDevices(board.world, { devices: [FIRST], group: true });
    expect(done).toBe(true);
    expect(plan.companions.map(({ name }) => name)).toEqual(["0000:00:03.0"]);
    expect(plan.immovable).toEqual(plan.companions);
    expect(plan.leftAlone.map(({ name }) => name)).toEqual(["0000:00:02.0"]);
    expect(driverOf("0000:00:03.0")).toBe("shpchp");
  });
});

describe("rehearsals", () => {
  it("says the very writes that binding makes, and makes none", () => {
    const before = board.tree.snapshot();
    const { writes } = rehearseBinding(board.world, { devices: [DISK, PORT] });
    expect(board.tree.snapshot()).toEqual(before);
    expect(board.store.read()).toBeUndefined();
    expect(board.kernel.writes).toEqual([]);
    bind(DISK, PORT);
    expect(board.kernel.writes).toEqual(writes.map(({ path, text }) => `${path} ${text}`));
  });

  it("does so for unbinding, too", () => {
    bind(DISK, PORT);
    const before = board.tree.snapshot();
    const { writes } = rehearseUnbinding(board.world, { devices: [], all: true });
    expect(board.tree.snapshot()).toEqual(before);
    board.kernel.writes.length = 0;
    unbindDevices(board.world, { devices: [], all: true });
    expect(board.kernel.writes).toEqual(writes.map(({ path, text }) => `${path} ${text}`));
    expect(writes).toHaveLength(6);
  });

  it("takes a driver for loaded that would be", () => {
    board.tree.remove("/sys/bus/platform/drivers/vfio-platform");
    const rehearsal = rehearseBinding({ ...board.world, load: () => expect.unreachable() }, { devices: [PORT] });
    expect(rehearsal).toMatchObject({ done: true, loads: ["vfio-platform"] });
    expect(rehearsal.writes).toHaveLength(3);
  });
});

describe("unbinding", () => {
  it("lets the kernel choose for a device that iospan did not bind", () => {
    board.kernel.rules = { matches: { nvme: ["0000:0a:00.0"] } };
    const { returns } = unbind("0000:0a:00.0");
    expect(returns).toMatchObject([{ way: "released", driver: "nvme" }]);
    expect(findDevice(board.kernel.machine, "0000:0a:00.0").driverOverride).toBeUndefined();
  });

  it("takes a device to the driver that was asked for", () => {
    board.kernel.rules = { matches: { nvme: [DISK], ahci: [DISK] } };
    bind(DISK);
    expect(unbindDevices(board.world, { devices: [DISK], driver: "ahci" }).returns).toMatchObject([
      { way: "chosen", driver: "ahci" },
    ]);
    expect(board.remembered).toEqual({});
    const wrong = unbindDevices(board.world, { devices: ["0000:0a:00.0"], driver: "none-such" });
    expect(wrong).toMatchObject({ done: false, refusals: [{ hint: "load it: modprobe none-such" }] });
  });

  it("changes nothing about a device that is not on VFIO", () => {
    expect(unbind(DISK).returns).toMatchObject([
      { way: "nothing", driver: "nvme", remark: expect.stringContaining("nvme") },
    ]);
    expect(board.kernel.writes).toEqual([]);
  });

  it("does not fight with who moved a device meanwhile, unless forced", () => {
    bind(DISK);
    board.tree.remove(`/sys/devices/pci0000:20/${DISK}/driver`);
    board.tree.link(`/sys/devices/pci0000:20/${DISK}/driver`, "/sys/bus/pci/drivers/ahci");
    board.tree.file(overrideFile, "ahci\n");
    expect(unbind(DISK)).toMatchObject({
      done: false,
      refusals: [{ message: expect.stringContaining("somebody else") }],
    });
    expect(driverOf(DISK)).toBe("ahci");
    expect(unbindDevices(board.world, { devices: [DISK], force: true }).done).toBe(true);
    expect(driverOf(DISK)).toBe("nvme");
  });

  it("brings back what an interrupted run left between", () => {
    const before = board.tree.snapshot();
    bind(DISK);
    board.kernel.syscalls.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", DISK);
    expect(readBindingStatus(board.world).astray).toMatchObject([{ place: "between" }]);
    expect(unbind(DISK).returns).toMatchObject([{ way: "restored", driver: "nvme" }]);
    expect(board.tree.snapshot()).toEqual(before);
  });

  it("ignores what was noted before a reboot", () => {
    bind(DISK);
    board.tree.file("/proc/sys/kernel/random/boot_id", "another\n");
    expect(readBindingStatus(board.world)).toMatchObject({ held: [], astray: [] });
    expect(unbind(DISK).returns).toMatchObject([{ way: "released" }]);
  });

  it("refuses while a process has the group open, and names it", () => {
    bind(DISK, PORT);
    board.tree.process(4711, "qemu", { 5: "/dev/vfio/7" });
    const bound = board.tree.snapshot();
    const error = errorOf(() => unbindDevices(board.world, { devices: [DISK, PORT] }));
    expect(error.message).toContain("4711 (qemu)");
    expect(error.message).toContain(`${DISK} is back where it was`);
    expect(board.tree.snapshot()).toEqual(bound);
    expect(Object.keys(board.remembered)).toEqual([DISK, PORT]);
  });

  it("refuses a record that it does not understand", () => {
    for (const text of [
      "{",
      "[]",
      '{"format":"iospan-bindings","version":2}',
      '{"format":"iospan-bindings","version":1}',
    ]) {
      board.store.write(text);
      expect(errorOf(() => bind(DISK)).code).toBe("ERR_IOSPAN_INCONSISTENT");
    }
    expect(driverOf(DISK)).toBe("nvme");
  });
});

describe("status", () => {
  it("tells whose hand put a device on VFIO", () => {
    bind(DISK);
    const status = readBindingStatus(board.world);
    expect(status.held).toMatchObject([{ device: { name: DISK }, remembered: { entry: { previousDriver: "nvme" } } }]);
    expect(status.foreign).toMatchObject([{ name: "0000:0a:00.0" }]);
    expect(status.others).toBe(6);
  });
});

it("binds both interfaces of a device on the simulated kernel, and gives them back", () => {
  const machine = simulate(readChip("dual-smmu").content);
  const world = { machine, store: memoryStore("bindings.json") };
  const devices = machine.interfaces.map(({ name }) => name);
  const drivers = () => devices.map((name) => findDevice(machine, name).driver);
  const before = drivers();
  expect(bindDevices(world, { devices }).done).toBe(true);
  expect(drivers()).toEqual(machine.interfaces.map(({ bus }) => `vfio-${bus}`));
  expect(unbindDevices(world, { devices: [], all: true }).done).toBe(true);
  expect(drivers()).toEqual(before);
});
