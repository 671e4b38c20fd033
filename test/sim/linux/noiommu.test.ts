import { bindToVfio, findDevice, IoAddressSpace } from "iospan";
import { describe, expect, it } from "vitest";
import { O_RDWR } from "../../../src/syscalls/mmap-flags.js";
import { errorFrom, errorOf } from "../../support/errors.js";
import { outcome, Program } from "../program.js";
import { BARE, ONE, pciMachine } from "./pci-machine.js";

const MODE = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

describe("a device without an IOMMU", () => {
  it("is refused by vfio-pci unless no-IOMMU mode is on", () => {
    const { kernel } = new Program(pciMachine());
    expect(kernel.readFile(MODE)).toBe("N\n");
    kernel.writeFile(`/sys/bus/pci/devices/${BARE}/driver_override`, "vfio-pci");
    if (findDevice({ syscalls: kernel }, BARE).driver !== undefined)
      kernel.writeFile("/sys/bus/pci/drivers/none/unbind", BARE);
    expect(outcome(() => kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", BARE))).toBe("EINVAL");
    kernel.writeFile(MODE, "Y\n");
    expect(outcome(() => kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", BARE))).toBeUndefined();
  });

  it.each([
    ["7.3.4", "noiommu-vfio"],
    ["6.12.107", "vfio"],
  ])("is in a group of its own in that mode, on Linux %s", (release, node) => {
    const kernel = pciMachine({ [BARE]: { driver: "vfio-pci" } }, { unsafeNoiommu: true, release });
    const machine = { syscalls: kernel };
    const { group, noiommu, vfioDevice } = findDevice(machine, BARE);
    expect(noiommu).toBe(true);
    expect(vfioDevice).toMatch(new RegExp(`^${node}\\d+$`));
    expect(kernel.readFile(`/sys/kernel/iommu_groups/${group}/name`)).toBe("vfio-noiommu\n");
    expect(kernel.readDirectory(`/sys/kernel/iommu_groups/${group}/devices`)).toEqual([BARE]);
    expect(kernel.readDirectory("/dev/vfio")).toContain(`noiommu-${group}`);
    expect(kernel.readDirectory("/dev/vfio/devices").includes(vfioDevice ?? "")).toBe(release === "7.3.4");
    expect(kernel.log).toContain(`vfio-pci ${BARE}: Adding kernel taint for vfio-noiommu group on device`);
    const program = new Program(kernel);
    const fd = kernel.open(`/dev/vfio/noiommu-${group}`, O_RDWR);
    expect(program.status(fd)).toBe(1);
    expect(outcome(() => program.setContainer(fd, program.container()))).toBe("ENOSYS");
    kernel.close(fd);
    kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", BARE);
    expect(findDevice(machine, BARE)).toMatchObject({ group: undefined, noiommu: false });
    expect(outcome(() => kernel.readDirectory(`/sys/kernel/iommu_groups/${group}`))).toBe("ENOENT");
  });

  it.each(["mirrored", "shared-container", "iommufd"] as const)("is refused by the space: %s", async (strategy) => {
    const kernel = pciMachine({ [BARE]: { driver: "vfio-pci" } }, { unsafeNoiommu: true });
    const machine = { syscalls: kernel };
    const opened = await errorFrom(IoAddressSpace.open(machine, [BARE], { strategy }));
    expect(opened).toMatchObject({ code: "ERR_IOSPAN_NO_IOMMU", device: BARE });
    expect(opened.message).toContain("noiommu-");
    await using space = await IoAddressSpace.open(machine, [ONE], { strategy });
    const before = kernel.openFds;
    const attached = await errorFrom(space.attach(BARE));
    expect(attached).toMatchObject({ code: "ERR_IOSPAN_NO_IOMMU", device: BARE });
    expect(kernel.openFds).toEqual(before);
  });

  it("is not bound to VFIO without that mode, and says why", () => {
    const machine = { syscalls: pciMachine() };
    const error = errorOf(() => bindToVfio(machine, BARE));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_NO_IOMMU", device: BARE });
  });
});
