/** A driver's tests on a simulated machine: a device tree, a device of one's own, and the real driver. */
import { readFileSync } from "node:fs";
import { IoAddressSpace, iova, simulate } from "iospan";
import { describe, expect, it } from "vitest";
import { Checksum } from "./checksum.js";
import { SimulatedChecksum } from "./simulated-checksum.js";

const chip = readFileSync(new URL("./chip.dts", import.meta.url));
const DEVICE = "a000000.checksum";

/** A machine with the device bound to vfio-platform, as `bindToVfio` would have it. */
function machine() {
  return simulate(chip, {
    drivers: "vfio",
    devices: { "example,checksum": (host) => new SimulatedChecksum(host) },
  });
}

describe("the checksum driver", () => {
  it("adds up memory through the SMMU", async () => {
    await using space = await IoAddressSpace.open(machine(), [DEVICE]);
    const checksum = new Checksum(space.interface(DEVICE));
    using buffer = space.allocate(8192);
    buffer.bytes.fill(3);
    expect(await checksum.sum(buffer.iova, 8192)).toBe(3 * 8192);
    buffer.bytes[100] = 4;
    expect(await checksum.sum(buffer.iova, 8192)).toBe(3 * 8192 + 1);
    expect(checksum.sumPolled(buffer.iova, 4096)).toBe(3 * 4096 + 1);
    expect(await checksum.sum(buffer.iova, 4096)).toBe(3 * 4096 + 1);
  });

  it("takes as long as the data sheet says", async () => {
    const simulated = machine();
    await using space = await IoAddressSpace.open(simulated, [DEVICE]);
    const checksum = new Checksum(space.interface(DEVICE));
    using buffer = space.allocate(2 ** 20);
    const before = simulated.clock.now;
    await checksum.sum(buffer.iova, 2 ** 20);
    expect(simulated.clock.now - before).toBe(16);
  });

  it("says so when the memory is not mapped, and the kernel says where", async () => {
    const simulated = machine();
    await using space = await IoAddressSpace.open(simulated, [DEVICE]);
    const checksum = new Checksum(space.interface(DEVICE));
    await expect(checksum.sum(iova(0x1234_5000), 16)).rejects.toThrow(`${DEVICE} could not read all of it`);
    expect(simulated.kernelLog.join("\n")).toContain("iova: 0x12345000");
  });

  it("leaves a device that a reset makes as good as new", async () => {
    await using space = await IoAddressSpace.open(machine(), [DEVICE]);
    const device = space.interface(DEVICE);
    using buffer = space.allocate(4096);
    device.region(0).write64(0x00, buffer.iova);
    device.region(0).write32(0x0c, 1);
    await device.reset();
    expect(device.region(0).read64(0x00)).toBe(0n);
    buffer.bytes.fill(1);
    expect(await new Checksum(device).sum(buffer.iova, 4096)).toBe(4096);
  });

  it("meets a bug of its own as an error, where it made it", async () => {
    await using space = await IoAddressSpace.open(machine(), [DEVICE]);
    expect(() => space.interface(DEVICE).region(0).read32(0x40)).toThrow("where the unit has no register");
  });
});
