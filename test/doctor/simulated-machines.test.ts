import { describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { examine } from "../../src/doctor/examine.js";
import { DualPathEngine } from "../../src/drivers/dual-path-engine.js";
import { IospanError } from "../../src/errors.js";
import { iova } from "../../src/iova.js";
import { bindToVfio } from "../../src/machine/driver-binding.js";
import { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import { machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { simulate } from "../../src/sim/simulate.js";
import type { SimulateOptions } from "../../src/sim/simulate-options.js";
import type { SimulatedMachine } from "../../src/sim/simulated-machine.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { surveyMachine, surveyOfTopology } from "../../src/survey/survey-machine.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { ENGINE, examined, machine, wrong } from "./support/simulated.js";

const [FUNCTION, PORT] = ENGINE;
const ON_VFIO = { drivers: "vfio" } as const satisfies SimulateOptions;

/** The code that the library refuses with; undefined where a buffer on all of the devices can be had. */
async function refusal(
  on: SimulatedMachine,
  bytes = 4096,
  devices: readonly string[] = ENGINE,
): Promise<string | undefined> {
  try {
    await using space = await IoAddressSpace.open(on, [...devices]);
    space.allocate(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof IospanError) return error.code;
    throw error;
  }
}

/** A chip of the package's with its text changed. */
function changed(change: (text: string) => string, options: SimulateOptions = ON_VFIO): SimulatedMachine {
  const { content } = readChip("dual-smmu");
  return simulate(change(typeof content === "string" ? content : new TextDecoder().decode(content)), options);
}

describe("the doctor on simulated machines", () => {
  it("finds nothing wrong where a space opens", async () => {
    const whole = machine(ON_VFIO);
    expect(await refusal(whole)).toBeUndefined();
    const found = await examined(whole);
    expect(found.worst).toBe("PASS");
    expect(found.devices).toEqual([...ENGINE]);
  });

  it("names devices that are not bound, and is content once they are", async () => {
    const bare = machine({ resetRequired: false });
    expect(await refusal(bare)).toBe("ERR_IOSPAN_WRONG_DRIVER");
    expect(wrong(await examined(bare))).toEqual(["IOSPAN-BINDING FAIL"]);
    for (const device of ENGINE) bindToVfio(bare, device);
    expect(await refusal(bare)).toBeUndefined();
    expect(wrong(await examined(bare))).toEqual([]);
  });

  it("does by hand what it says, and the device is bound", async () => {
    const bare = machine({ resetRequired: false });
    const { checks } = await examined(bare, [FUNCTION]);
    const fix = checks.find(({ id }) => id === "IOSPAN-BINDING")?.diagnoses[0]?.fix ?? [];
    const commands = fix.flatMap((text) => [...text.matchAll(/^echo (\S+) > (\S+)$/g)]);
    expect(commands).toHaveLength(2);
    for (const [, text = "", path = ""] of commands) bare.syscalls.writeFile(path, text);
    expect(wrong(await examined(bare, [FUNCTION]))).toEqual([]);
    expect(await refusal(bare, 4096, [FUNCTION])).toBeUndefined();
  });

  it("tells a misspelt override from one that nobody asked", async () => {
    const bare = machine();
    const textOf = async () => {
      const { checks } = await examined(bare, [FUNCTION]);
      return checks.find(({ id }) => id === "IOSPAN-BINDING")?.diagnoses[0]?.text;
    };
    const override = `/sys/bus/pci/devices/${FUNCTION}/driver_override`;
    bare.syscalls.writeFile(override, "vfio_pci");
    expect(await textOf()).toBe(
      `${FUNCTION} has no driver: its driver_override says vfio_pci, and the driver's name is vfio-pci`,
    );
    bare.syscalls.writeFile(override, "vfio-pci");
    expect(await textOf()).toContain("but nobody asked that driver, or it refused");
    bare.syscalls.writeFile(override, "nvme");
    expect(await textOf()).toContain("keeps it for nvme");
  });

  it("knows why vfio-platform refuses a device without a reset handler", async () => {
    const strict = changed((text) => text.replace(/\s*iospan,vfio-reset;/g, ""), {});
    expect(() => bindToVfio(strict, PORT)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_BIND_REFUSED" }));
    expect(wrong(await examined(strict, [PORT]))).toEqual(["IOSPAN-PLATFORM-RESET FAIL", "IOSPAN-BINDING FAIL"]);
    const lenient = changed((text) => text.replace(/\s*iospan,vfio-reset;/g, ""), { resetRequired: false });
    bindToVfio(lenient, PORT);
    expect(wrong(await examined(lenient, [PORT]))).toEqual([]);
  });

  it("sees who has the group", async () => {
    const held = machine(ON_VFIO);
    const space = await IoAddressSpace.open(held, [FUNCTION], { strategy: "mirrored" });
    expect(await refusal(held)).toBe("ERR_IOSPAN_GROUP_BUSY");
    const found = await examined(held);
    expect(wrong(found)).toEqual(["IOSPAN-GROUP-BUSY FAIL"]);
    const busy = found.checks.find(({ id }) => id === "IOSPAN-GROUP-BUSY")?.diagnoses[0];
    expect(busy?.text).toMatch(/^group \d+ \(0000:01:00\.0\) is open in process 4711 \(node\)$/);
    await space.close();
    expect(wrong(await examined(held))).toEqual([]);
  });

  it("tells what a low limit on locked memory lets be mapped", async () => {
    const limited = { ...ON_VFIO, memlock: 65536, capabilities: [] };
    const low = machine(limited);
    expect(await refusal(low, 2 ** 20)).toBe("ERR_IOSPAN_MEMLOCK");
    // The simulated /proc has no limits, so the kernel's own words have to do.
    expect(wrong(await examined(low))).toEqual(["IOSPAN-MEMLOCK FAIL"]);
    const high = machine({ ...limited, memlock: Number.POSITIVE_INFINITY });
    expect(await refusal(high, 2 ** 20)).toBeUndefined();
    expect(wrong(await examined(high))).toEqual([]);
  });

  it("finds a device in VFIO's unsafe mode", async () => {
    const without = changed((text) => text.replace(/\s*iommu-map = <[^;]*;/, ""), { unsafeNoiommu: true });
    bindToVfio(without, FUNCTION);
    expect(await refusal(without, 4096, [FUNCTION])).toBe("ERR_IOSPAN_NO_IOMMU");
    expect(wrong(await examined(without, [FUNCTION]))).toContain("IOSPAN-NOIOMMU FAIL");
  });

  it("finds a device that nothing translates for", async () => {
    const without = changed((text) => text.replace(/\s*iommu-map = <[^;]*;/, ""), {});
    expect(await refusal(without, 4096, [FUNCTION])).toBeDefined();
    expect(() => bindToVfio(without, FUNCTION)).toThrow(IospanError);
    expect(wrong(await examined(without, [FUNCTION]))).toContain("IOSPAN-NOT-TRANSLATED FAIL");
  });

  it("finds interrupts that are not isolated, and the switch that lets VFIO go without", async () => {
    const open = (text: string) => text.replace(/\s*msi-parent = <[^;]*;/, "");
    const unsafe = changed(open);
    expect(await refusal(unsafe)).toBe("ERR_IOSPAN_UNSAFE_INTERRUPTS");
    expect(wrong(await examined(unsafe))).toEqual(["IOSPAN-MSI-ISOLATION FAIL"]);
    unsafe.syscalls.writeFile("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "1");
    expect(await refusal(unsafe)).toBeUndefined();
    expect(wrong(await examined(unsafe))).toEqual([]);
  });

  it.each(["iommufd", "iommufd-link"] as const)("has nothing against %s behind containers", async (container) => {
    const other = machine({ ...ON_VFIO, container });
    expect(await refusal(other)).toBeUndefined();
    expect(wrong(await examined(other))).toEqual([]);
  });

  it("finds a limit on mappings", async () => {
    const few = machine({ ...ON_VFIO, dmaEntryLimit: 1, iommufd: false });
    await using space = await IoAddressSpace.open(few, [...ENGINE]);
    space.allocate(4096);
    expect(() => space.allocate(4096)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_DMA_ENTRY_LIMIT" }));
    await space.close();
    expect(wrong(await examined(few))).toEqual(["IOSPAN-DMA-ENTRIES WARN"]);
    few.syscalls.writeFile("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535");
    expect(wrong(await examined(few))).toEqual([]);
  });

  it("warns of a kernel that attaches without effect", async () => {
    expect(wrong(await examined(machine({ ...ON_VFIO, release: "6.14" })))).toEqual(["IOSPAN-SILENT-ATTACH WARN"]);
    expect(wrong(await examined(machine({ ...ON_VFIO, release: "6.12" })))).toEqual([]);
  });

  it.each(["6.12", "7.3"])("finds DMA that was refused, in the words of Linux %s", async (release) => {
    const faulty = machine({ ...ON_VFIO, release });
    const { content, name } = readChip("dual-smmu");
    // Before 6.14 the log has the StreamID alone, and firmware tells whose it is.
    const firmware = [topologyOfDeviceTree(content, name)];
    expect(wrong(await examined(faulty, ENGINE, firmware))).toEqual([]);
    await using space = await IoAddressSpace.open(faulty, [...ENGINE], { strategy: "mirrored" });
    await using engine = await DualPathEngine.open(space, { function: FUNCTION, port: PORT }, { completion: "poll" });
    const nowhere = iova(0x4000_0000);
    await expect(engine.copy(nowhere, iova(nowhere + 0x10000n), 4096, { via: "port" })).rejects.toThrow(IospanError);
    await engine[Symbol.asyncDispose]();
    await space.close();
    const found = await examined(faulty, ENGINE, firmware);
    expect(wrong(found)).toEqual(["IOSPAN-FAULTS WARN"]);
    const [fault] = found.checks.find(({ id }) => id === "IOSPAN-FAULTS")?.diagnoses ?? [];
    expect(fault?.device).toBe(PORT);
    expect(fault?.text).toMatch(
      /9030000\.dma-port was refused: .* (read|accessed) 0x40000000: nothing is mapped there/,
    );
  });

  it("names a companion on another driver, and is content once VFIO has it", async () => {
    const { devices, ...rest } = machineOneDescription();
    const [nvme, edu] = ["0000:01:00.0", "0000:02:00.0"];
    const together = devices.map((each) => (each.name === nvme || each.name === edu ? { ...each, group: 40 } : each));
    const syscalls = new SimulatedKernel({ ...rest, devices: together });
    const on = { syscalls, kernelLog: syscalls.log };
    const open = () => IoAddressSpace.open(on, [edu]);
    await expect(open()).rejects.toMatchObject({ code: "ERR_IOSPAN_GROUP_NOT_VIABLE" });
    const found = await examined(on, [edu]);
    expect(wrong(found)).toEqual(["IOSPAN-GROUP-VIABLE FAIL"]);
    const [viable] = found.checks.find(({ id }) => id === "IOSPAN-GROUP-VIABLE")?.diagnoses ?? [];
    expect(viable?.text).toBe(`group 40 (${edu}) is not viable: ${nvme}, in it as well, is on nvme`);
    expect(viable?.fix[0]).toBe(`sudo iospan bind ${nvme}`);
    bindToVfio(on, nvme);
    await (await open()).close();
    expect(wrong(await examined(on, [edu]))).toEqual([]);
  });

  it("knows an SMMU that is not coherent, whose devices VFIO does not take", async () => {
    const incoherent = (text: string) => text.replace(/(smmu1: .*?)\s*dma-coherent;/s, "$1");
    const { content } = readChip("dual-smmu");
    const source = incoherent(typeof content === "string" ? content : new TextDecoder().decode(content));
    const on = simulate(source);
    expect(() => bindToVfio(on, PORT)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_BIND_REFUSED" }));
    const found = await examined(on, [PORT], [topologyOfDeviceTree(source, "board.dts")]);
    expect(wrong(found)).toContain("IOSPAN-COHERENCY FAIL");
    const whole = machine({ resetRequired: false });
    bindToVfio(whole, PORT);
    expect(wrong(await examined(whole, [PORT]))).toEqual([]);
  });

  it("finds a VFIO driver that is not there, and an IOMMU backend that is not", async () => {
    const whole = machine(ON_VFIO);
    const survey = surveyMachine(whole.syscalls, { devices: ENGINE });
    const kernel = survey.kernel!;
    const drivers = kernel.vfio.drivers?.filter(({ name }) => name !== "vfio-platform");
    const modules = { ...kernel.vfio.modules, vfio_iommu_type1: false, iommufd: false };
    const devices = survey.topology.devices.map((device) => ({ ...device, driver: null }));
    const found = examine(
      {
        topology: { ...survey.topology, devices },
        kernel: { ...kernel, devices: new Map(), vfio: { ...kernel.vfio, drivers, modules } },
      },
      ENGINE,
    );
    expect(wrong(found)).toEqual(
      expect.arrayContaining(["IOSPAN-TYPE1 FAIL", "IOSPAN-VFIO-DRIVER FAIL", "IOSPAN-BINDING FAIL"]),
    );
  });

  it("says of firmware alone what there is, and what would tell the rest", () => {
    const { name, content } = readChip("dual-smmu");
    const found = examine(surveyOfTopology(topologyOfDeviceTree(content, name)));
    expect(found.devices).toEqual([...ENGINE]);
    expect(found.worst).toBe("CANNOT-CHECK");
    const told = found.checks.filter(({ outcome }) => outcome === "PASS").map(({ id }) => id);
    expect(told).toEqual(expect.arrayContaining(["IOSPAN-IOMMU-OFF", "IOSPAN-SEVERAL-IOMMUS", "IOSPAN-COHERENCY"]));
  });

  it("knows names as plans do, and refuses those that there are not", () => {
    const { name, content } = readChip("dual-smmu");
    const survey = surveyOfTopology(topologyOfDeviceTree(content, name));
    expect(examine(survey, ["dma-port", PORT]).devices).toEqual([PORT]);
    expect(() => examine(survey, ["0000:09:00.0x"])).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_NO_DEVICE" }));
  });
});
