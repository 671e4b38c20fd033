import { readFileSync } from "node:fs";
import { DualPathEngine, IoAddressSpace, iova } from "iospan";
import { describe, expect, it } from "vitest";
import { Edu } from "../../examples/edu/edu.js";
import { registers } from "../../src/sim/hw/smmu/registers.js";
import { streamTableEntry, streamTableLink } from "../../src/sim/hw/smmu/stream-table-entry.js";
import { boot } from "../../src/sim/linux/boot.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { type RefusalLog, refusedDma } from "./refused-dma.js";
import { chipRig } from "./simulated-chip.js";

interface Recording {
  readonly kernel: string;
  readonly machine: string;
  readonly devices: Readonly<Record<string, RefusalLog>>;
}

/** What real kernels said in the laboratory; the file tells the command. */
const { recordings } = JSON.parse(readFileSync(new URL("./recorded-events.json", import.meta.url), "utf8")) as {
  readonly recordings: readonly Recording[];
};

const STAGE_2 = "stage-2";
const BEYOND = "a read behind the last address";
/** What QEMU's SMMUs have. */
const OUTPUT_BITS = 44;

const SMMU0 = "smmu3.0x000000000c000000";
const SMMU1 = "smmu3.0x000000000c020000";

/** The laboratory's machine of that name, simulated. */
function sameMachine({ kernel, machine }: Recording) {
  const stage = machine === STAGE_2 ? 2 : 1;
  const iommus = [SMMU0, SMMU1].map((name) => ({ name, stage, outputBits: OUTPUT_BITS }) as const);
  return machineOne({ release: kernel, iommus });
}

/**
 * What was recorded, but for what QEMU's stage 2 does and the architecture does not: it leaves the place in the page in the
 * record's intermediate address, which has bits 51 to 12 (Arm IHI 0070, 7.3).
 */
function asArchitected(log: RefusalLog, { machine }: Recording): RefusalLog {
  if (machine !== STAGE_2) return log;
  return Object.fromEntries(Object.entries(log).map(([what, lines]) => [what, lines.map(withPageAddress)]));
}

const INTERMEDIATE_ADDRESS_LINE = 4;
const withPageAddress = (line: string, index: number) =>
  index === INTERMEDIATE_ADDRESS_LINE ? line.replace(/[0-9a-f]{3}$/, "000") : line;

/**
 * What both are to say the same of. QEMU says nothing of addresses that a stage 1 in bypass cannot pass on; the architecture
 * has it record F_ADDR_SIZE (3.4).
 */
function comparable(log: RefusalLog, { machine }: Recording): RefusalLog {
  const { [BEYOND]: _, ...others } = log;
  return machine === STAGE_2 ? others : log;
}

describe("what the kernel says of refused DMA is what Linux said in the laboratory, word for word", () => {
  it("has recordings of both stages", () => {
    expect(new Set(recordings.map(({ machine }) => machine))).toEqual(new Set(["two-pcie-paths", STAGE_2]));
    expect(recordings.length).toBeGreaterThanOrEqual(8);
  });

  it.each(recordings.map((recording) => [recording.kernel, recording.machine, recording] as const))(
    "Linux %s on %s",
    async (_kernel, _machine, recording) => {
      const kernel = sameMachine(recording);
      for (const [device, recorded] of Object.entries(recording.devices)) {
        kernel.clock.advance(5100);
        const said = await refusedDma(kernel, device, () => kernel.log);
        expect(Object.keys(said)).toEqual(Object.keys(recorded));
        expect(comparable(said, recording)).toEqual(comparable(asArchitected(recorded, recording), recording));
      }
    },
  );

  it("is the same on a chip, but for the name that its device tree gives the SMMU", async () => {
    const recorded = recordings.find(({ kernel, machine }) => kernel.startsWith("7.3") && machine !== STAGE_2);
    const { machine, first } = chipRig("two-pcie", "mirrored");
    expect(first).toBe("0000:02:00.0");
    const said = await refusedDma(machine, first, () => machine.kernelLog);
    const named = Object.entries(recorded?.devices[first] ?? {}).map(([what, lines]) => {
      const own = lines.map((line) => line.replace("arm-smmu-v3.0.auto:", "c000000.iommu:"));
      return [what, own] as const;
    });
    expect(said).toEqual(Object.fromEntries(named));
  });
});

const FUNCTION = "0000:01:00.0";
const PORT = "9030000.dma-port";

/** A job of the article's engine, from or to an address that nothing is mapped at. @returns what the kernel said of it */
async function faultOfEngine({ via, from, to }: { via: "function" | "port"; from?: number; to?: number }) {
  const { machine } = chipRig("dual-smmu", "mirrored", {
    drivers: { [FUNCTION]: "vfio-pci", [PORT]: "vfio-platform" },
  });
  await using space = await IoAddressSpace.open(machine, [FUNCTION, PORT], { strategy: "mirrored" });
  await using engine = await DualPathEngine.open(space, { function: FUNCTION, port: PORT });
  using memory = space.allocate(4096);
  const job = engine.copy(iova(from ?? memory.iova), iova(to ?? memory.iova), 64, { via });
  await expect(job).rejects.toThrow(via === "port" ? PORT : FUNCTION);
  return machine.kernelLog;
}

/** Lines of the driver's, of one SMMU. */
const linesOf = (smmu: string, ...lines: readonly string[]) => lines.map((line) => `arm-smmu-v3 ${smmu}: ${line}`);

describe("DMA that its SMMU refuses", () => {
  it("of the engine's function, reading: sid 0x100", async () => {
    expect(await faultOfEngine({ via: "function", from: 0x6000_0000 })).toEqual(
      linesOf(
        "c000000.iommu",
        "event 0x10 received:",
        "\t0x0000010000000010",
        "\t0x0000020800000000",
        "\t0x0000000060000000",
        "\t0x0000000000000000",
        "event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0x60000000 ipa: 0x0",
        'unpriv data read s1 "Input address caused fault" stag: 0x0',
      ),
    );
  });

  it("of the engine's port, writing: sid 0x42", async () => {
    expect(await faultOfEngine({ via: "port", to: 0x6000_0000 })).toEqual(
      linesOf(
        "c020000.iommu",
        "event 0x10 received:",
        "\t0x0000004200000010",
        "\t0x0000020000000000",
        "\t0x0000000060000000",
        "\t0x0000000000000000",
        "event: F_TRANSLATION client: 9030000.dma-port sid: 0x42 ssid: 0x0 iova: 0x60000000 ipa: 0x0",
        'unpriv data write s1 "Input address caused fault" stag: 0x0',
      ),
    );
  });

  it("of an edu behind the laboratory's second SMMU: sid 0x2200", async () => {
    const kernel = machineOne();
    await using space = await IoAddressSpace.open(kernel, ["0000:22:00.0"], { strategy: "mirrored" });
    await new Edu(space.interface("0000:22:00.0")).load(iova(0x3000_0000), 4);
    expect(kernel.log).toEqual(
      linesOf(
        "arm-smmu-v3.1.auto",
        "event 0x10 received:",
        "\t0x0000220000000010",
        "\t0x0000020800000000",
        "\t0x0000000030000000",
        "\t0x0000000000000000",
        "event: F_TRANSLATION client: 0000:22:00.0 sid: 0x2200 ssid: 0x0 iova: 0x30000000 ipa: 0x0",
        'unpriv data read s1 "Input address caused fault" stag: 0x0',
      ),
    );
  });

  it("behind the last address of stage 2: F_ADDR_SIZE, of a stage 1 that is not there", async () => {
    const kernel = machineOne({ iommus: [{ name: SMMU0, stage: 2, outputBits: OUTPUT_BITS }, { name: SMMU1 }] });
    const said = await refusedDma(kernel, "0000:02:00.0", () => kernel.log);
    expect(said[BEYOND]).toEqual(
      linesOf(
        "arm-smmu-v3.0.auto",
        "event 0x11 received:",
        "\t0x0000020000000011",
        "\t0x0000020800000000",
        "\t0x0001000000001000",
        "\t0x0000000000000000",
        "event: F_ADDR_SIZE client: 0000:02:00.0 sid: 0x200 ssid: 0x0 iova: 0x1000000001000 ipa: 0x0",
        'unpriv data read s1 "Input address caused fault" stag: 0x0',
      ),
    );
  });

  it("is said of ten events in five seconds, whichever SMMU they are of", async () => {
    const { machine, first, second } = chipRig("two-pcie", "mirrored");
    await using space = await IoAddressSpace.open(machine, [first, second], { strategy: "mirrored" });
    const fault = async (page: number) => {
      for (const name of [first, second]) await new Edu(space.interface(name)).load(iova(page * 4096), 4);
    };
    for (let page = 0x60000; page < 0x60007; page++) await fault(page);
    const decoded = () => machine.kernelLog.filter((line) => line.includes("event: "));
    expect(decoded()).toHaveLength(10);
    expect(decoded().filter((line) => line.includes("c020000.iommu"))).toHaveLength(5);
    expect(machine.smmus.map(({ counters }) => counters.events)).toEqual([7, 7]);
    machine.clock.advance(5000);
    await fault(0x60007);
    expect(decoded()).toHaveLength(12);
  });
});

describe("what is no event", () => {
  it("DMA of a device that VFIO has blocked", async () => {
    const { machine, first } = chipRig("two-pcie", "mirrored");
    const blocked = boot(machine.description);
    const [smmu] = blocked.iommus;
    const streamId = 0x200;
    expect(smmu?.hardware.translate(streamId, 0x6000_0000, false)).toBe(-1);
    const before = blocked.log.lines.length;
    blocked.devices.find(({ name }) => name === first)?.group?.claim({});
    expect(smmu?.hardware.translate(streamId, 0x6000_0000, false)).toBe(-1);
    expect(blocked.log.lines.slice(before)).toEqual([]);
  });

  it("DMA of a function that may not master the bus", async () => {
    const { machine, first } = chipRig("two-pcie", "mirrored");
    await using space = await IoAddressSpace.open(machine, [first], { strategy: "mirrored" });
    const device = space.interface(first);
    device.pciConfig?.setBusMaster(false);
    await new Edu(device).load(iova(0x6000_0000), 4);
    expect(machine.kernelLog).toEqual([]);
  });

  it("anything that the scenarios' own example does", async () => {
    const { machine, first, second } = chipRig("dual-smmu", "mirrored");
    await using space = await IoAddressSpace.open(machine, [first, second], { strategy: "mirrored" });
    using buffer = space.allocate(8192);
    for (const name of space.interfaces) {
      await new Edu(space.interface(name)).copy(buffer.iova, iova(buffer.iova + 4096n), 4096, "msi");
    }
    expect(machine.kernelLog).toEqual([]);
  });
});

describe("a stream table that is not as the driver made it", () => {
  /** A chip, booted, to be looked into. */
  function bootedChip() {
    const { machine } = chipRig("two-pcie", "mirrored");
    const { iommus, physical, log } = boot(machine.description);
    const [smmu] = iommus;
    if (smmu === undefined) throw new Error("the chip has no SMMU");
    return { hardware: smmu.hardware, physical, log };
  }

  it("C_BAD_STREAMID: nobody told the kernel of a device", () => {
    const { hardware, log } = bootedChip();
    expect(hardware.translate(0x7700, 0x1000, false)).toBe(-1);
    expect(log.lines).toEqual(
      linesOf(
        "c000000.iommu",
        "event 0x02 received:",
        "\t0x0000770000000002",
        "\t0x0000000000000000",
        "\t0x0000000000000000",
        "\t0x0000000000000000",
        "event: C_BAD_STREAMID client: (unassigned sid) sid: 0x7700 ssid: 0x0",
      ),
    );
  });

  it("C_BAD_STE: somebody wrote over a device's entry", () => {
    const { hardware, physical, log } = bootedChip();
    const streamId = 0x200;
    const { ADDR } = registers.STRTAB_BASE.decode(hardware.read64(registers.STRTAB_BASE.offset));
    const link = physical.read64(ADDR + (streamId >> 8) * streamTableLink.size) ?? 0n;
    const entry = streamTableLink.decode([link]).L2Ptr + (streamId & 0xff) * streamTableEntry.size;
    physical.write64(entry, 0n);
    expect(hardware.translate(streamId, 0x1000, false)).toBe(-1);
    expect(log.lines).toEqual(
      linesOf(
        "c000000.iommu",
        "event 0x04 received:",
        "\t0x0000020000000004",
        "\t0x0000000000000000",
        "\t0x0000000000000000",
        "\t0x0000000000000000",
        "event: C_BAD_STE client: 0000:02:00.0 sid: 0x200 ssid: 0x0",
      ),
    );
  });
});
