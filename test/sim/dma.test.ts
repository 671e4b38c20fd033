import { describe, expect, it } from "vitest";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { PAGE, Program } from "./program.js";

const A = "0000:02:00.0";
const B = "0000:22:00.0";
const IOVA = 0x1000_0000n;
const P = 4096n;

function setUp(options: MachineOneOptions = {}, ...devices: readonly string[]) {
  const program = new Program(machineOne(options));
  const opened = program.open(...(devices.length === 0 ? [A] : devices));
  const address = program.memory(4 * PAGE);
  const edus = opened.devices.map((device) => program.edu(device));
  return { ...opened, program, kernel: program.kernel, address, bytes: program.bytes(address, 4 * PAGE), edus };
}

describe("DMA of a device in a container", () => {
  it("reads and writes the bytes the program sees, through both SMMUs at one IOVA", () => {
    const { program, container, edus, address, bytes } = setUp({}, A, B);
    program.map(container, IOVA, 2n * P, address);
    bytes.set([1, 2, 3, 4]);
    edus[0]!.fetch(IOVA, 4);
    edus[0]!.store(IOVA + P, 4);
    expect([...bytes.subarray(PAGE, PAGE + 4)]).toEqual([1, 2, 3, 4]);
    edus[1]!.fetch(IOVA + P, 4);
    edus[1]!.store(IOVA + 8n, 4);
    expect([...bytes.subarray(8, 12)]).toEqual([1, 2, 3, 4]);
  });

  it("crosses from one mapping to the next", () => {
    const { program, container, edus, address, bytes } = setUp();
    program.map(container, IOVA, P, address + 2n * P);
    program.map(container, IOVA + P, P, address);
    bytes.fill(5, 3 * PAGE - 8, 3 * PAGE);
    bytes.fill(6, 0, 8);
    edus[0]!.fetch(IOVA + P - 8n, 16);
    edus[0]!.store(IOVA, 16);
    expect([...bytes.subarray(2 * PAGE, 2 * PAGE + 16)]).toEqual([5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6]);
  });

  it("takes 100 ms of the simulation's time, and none of anybody else's", () => {
    const { kernel, edus } = setUp();
    const before = kernel.clock.now;
    edus[0]!.fetch(IOVA, 4);
    expect(kernel.clock.now - before).toBe(100);
  });

  it("does not happen without bus mastering, and leaves no trace", () => {
    const { program, kernel, container, edus, address, bytes, devices } = setUp();
    program.map(container, IOVA, P, address);
    kernel.pwrite(devices[0]!, Uint8Array.of(2, 0), (7n << 40n) + 4n);
    bytes[0] = 9;
    edus[0]!.store(IOVA, 1);
    expect(bytes[0]).toBe(9);
    expect(kernel.log).toEqual([]);
  });

  it("does not happen outside the device's own buffer", () => {
    const { program, container, edus, address, bytes } = setUp();
    program.map(container, IOVA, P, address);
    bytes[0] = 9;
    edus[0]!.start(0x40ff8n, IOVA, 16, 3);
    expect(edus[0]!.mmio.read32(0x98) & 1).toBe(1);
    expect([edus[0]!.mmio.read32(0x98) & 1, bytes[0]]).toEqual([0, 9]);
  });

  it("is forgotten by a reset", async () => {
    const { program, container, edus, address, bytes, devices, kernel } = setUp();
    program.map(container, IOVA, P, address);
    bytes[0] = 9;
    edus[0]!.start(0x40000n, IOVA, 1, 3);
    kernel.close(devices[0]!);
    kernel.munmap(edus[0]!.address, 2 ** 20);
    await new Promise((resolve) => setTimeout(resolve));
    expect(bytes[0]).toBe(9);
  });

  it("reaches another device's registers where those are mapped", () => {
    const { program, container, edus, address, bytes } = setUp({}, A, B);
    program.map(container, 0x2000_0000n, 2n ** 20n, edus[1]!.address);
    program.map(container, IOVA, P, address);
    edus[0]!.fetch(0x2000_0000n, 4);
    edus[0]!.store(IOVA, 4);
    expect([...bytes.subarray(0, 4)]).toEqual([0xed, 0, 0, 1]);
  });
});

describe("an access that is not mapped", () => {
  const raw = (device: string, words: readonly string[]) => [
    `arm-smmu-v3 ${device}: event 0x10 received:`,
    ...words.map((word) => `arm-smmu-v3 ${device}: \t${word}`),
  ];

  it("reads as zeros, and is in the kernel's log as Linux prints it", () => {
    const { kernel, edus, program, container, address, bytes } = setUp({}, B);
    program.map(container, IOVA, P, address);
    bytes.fill(1, 0, 16);
    edus[0]!.fetch(IOVA, 16);
    edus[0]!.fetch(0x3000_0000n, 16);
    edus[0]!.store(IOVA, 16);
    expect(bytes.subarray(0, 16).every((byte) => byte === 0)).toBe(true);
    const device = "arm-smmu-v3.1.auto";
    expect(kernel.log).toEqual([
      ...raw(device, ["0x0000220000000010", "0x0000020800000000", "0x0000000030000000", "0x0000000000000000"]),
      `arm-smmu-v3 ${device}: event: F_TRANSLATION client: ${B} sid: 0x2200 ssid: 0x0 iova: 0x30000000 ipa: 0x0`,
      `arm-smmu-v3 ${device}: unpriv data read s1 "Input address caused fault" stag: 0x0`,
    ]);
  });

  it("is printed raw by older kernels", () => {
    const { kernel, edus } = setUp({ release: "6.12.107" });
    edus[0]!.store(0x3000_0000n, 16);
    expect(kernel.log).toEqual(
      raw("arm-smmu-v3.0.auto", [
        "0x0000020000000010",
        "0x0000020000000000",
        "0x0000000030000000",
        "0x0000000000000000",
      ]),
    );
  });

  it("is counted once for each page", () => {
    const { kernel, edus } = setUp();
    edus[0]!.store(0x3000_0ff8n, 16);
    expect(kernel.log.filter((line) => line.includes("iova: 0x"))).toHaveLength(2);
  });

  it("is printed ten times in five seconds", () => {
    const { kernel, edus } = setUp();
    for (let time = 0; time < 49; time++) edus[0]!.store(0x3000_0000n, 4);
    expect(kernel.log).toHaveLength(70);
    kernel.clock.advance(1000);
    edus[0]!.store(0x3000_0000n, 4);
    expect(kernel.log).toHaveLength(77);
  });

  it("a read-only mapping is not written", () => {
    const { program, kernel, container, edus, address, bytes } = setUp();
    program.map(container, IOVA, P, address, 1);
    bytes[0] = 3;
    edus[0]!.store(IOVA, 1);
    expect(bytes[0]).toBe(3);
    expect(kernel.log[0]).toContain("event 0x13 received");
  });

  it("a write-only mapping is read in stage 1, and not in stage 2", () => {
    const attempt = (stage: 1 | 2) => {
      const { iommus } = machineOneDescription();
      const { program, kernel, container, edus, address, bytes } = setUp({
        iommus: iommus.map((iommu) => ({ ...iommu, stage })),
      });
      program.map(container, IOVA, P, address, 2);
      bytes[0] = 3;
      edus[0]!.fetch(IOVA, 1);
      edus[0]!.store(IOVA, 1);
      return { byte: bytes[0], log: kernel.log };
    };
    expect(attempt(1)).toEqual({ byte: 3, log: [] });
    const { byte, log } = attempt(2);
    expect(byte).toBe(0);
    expect(log).toContain("arm-smmu-v3 arm-smmu-v3.0.auto: \t0x0000028800000000");
    expect(log).toContain(
      `arm-smmu-v3 arm-smmu-v3.0.auto: event: F_PERMISSION client: ${A} sid: 0x200 ssid: 0x0 iova: 0x10000000 ipa: 0x10000000`,
    );
  });

  it("beyond the input size is a fault like any other", () => {
    const { kernel, edus } = setUp();
    edus[0]!.store(2n ** 63n, 1);
    expect(kernel.log[0]).toContain("event 0x10 received");
  });
});
