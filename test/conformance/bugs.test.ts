import { DualPathEngine, IoAddressSpace, type SimulateOptions, type StrategyName } from "iospan";
import { describe, expect, it } from "vitest";
import { edus, proveDma } from "./dma-proof.js";
import { refused } from "./expect.js";
import { type ChipRig, chipRig } from "./simulated-chip.js";

const SMMUS = { smmu0: "c000000.iommu", smmu1: "c020000.iommu" } as const;
const SMMU_LABELS = ["smmu0", "smmu1"] as const;
const ONE_FOR_ALL = ["shared-container", "iommufd"] as const;
const EVERY = ["mirrored", ...ONE_FOR_ALL] as const satisfies readonly StrategyName[];

const FUNCTION = "0000:01:00.0";
const PORT = "9030000.dma-port";

/** Devices behind both SMMUs, and how DMA through each of them is proven. */
interface Subject {
  readonly chip: string;
  readonly drivers?: SimulateOptions["drivers"];
  names(rig: ChipRig): readonly string[];
  prove(rig: ChipRig, space: IoAddressSpace): Promise<void>;
}

const twoEdus: Subject = {
  chip: "two-pcie",
  names: ({ first, second }) => [first, second],
  prove: ({ machine }, space) => proveDma(machine, space, edus(space)),
};

/** The article's engine, by each of its interfaces alone. */
const oneEngine: Subject = {
  chip: "dual-smmu",
  drivers: { [FUNCTION]: "vfio-pci", [PORT]: "vfio-platform" },
  names: () => [FUNCTION, PORT],
  async prove({ machine }, space) {
    // An interrupt is DMA, too, and may not arrive.
    const names = { function: FUNCTION, port: PORT };
    await using engine = await DualPathEngine.open(space, names, { completion: "poll" });
    const movers = (["function", "port"] as const).map((via) => ({
      name: via,
      copy: (from: bigint, to: bigint, size: number) => engine.copy(from, to, size, { via }),
    }));
    await proveDma(machine, space, movers);
  },
};

const subjects = [
  ["two edus", twoEdus],
  ["the engine with two interfaces", oneEngine],
] as const;

function rigOf({ chip, drivers }: Subject, options: SimulateOptions): ChipRig {
  return chipRig(chip, "mirrored", { ...(drivers && { drivers }), ...options });
}

const open = (subject: Subject, rig: ChipRig, strategy: StrategyName) =>
  IoAddressSpace.open(rig.machine, subject.names(rig), { strategy });

const events = ({ machine }: ChipRig) => machine.kernelLog.filter((line) => line.includes(" event"));

describe.each(subjects)("%s", (_, subject) => {
  describe.each(EVERY)("with the strategy %s", (strategy) => {
    it("move the same memory at the same IOVAs where the kernel does what it says, and its log is silent", async () => {
      const rig = rigOf(subject, {});
      await using space = await open(subject, rig, strategy);
      await subject.prove(rig, space);
      expect(space.audit().differences).toEqual([]);
      expect(rig.machine.kernelLog).toEqual([]);
    });

    it.each(SMMU_LABELS)("show by DMA that an unmap left the TLB of %s as it was", async (smmu) => {
      const rig = rigOf(subject, { bugs: { unmapKeepsTlb: smmu } });
      await using space = await open(subject, rig, strategy);
      await expect(subject.prove(rig, space)).rejects.toThrow(/^what .* (read|wrote): byte/);
      // Nothing but DMA tells: the kernel believes itself, and stale translations are no fault to an SMMU.
      expect(space.audit().differences).toEqual([]);
      expect(events(rig)).toEqual([]);
    });

    it.each(SMMU_LABELS)("show by DMA that a mapping did not reach %s, whose events say so, too", async (smmu) => {
      const rig = rigOf(subject, { bugs: { mapSkips: smmu } });
      await using space = await open(subject, rig, strategy);
      await expect(subject.prove(rig, space)).rejects.toThrow();
      expect(space.audit().differences).toEqual([]);
      expect(events(rig).join("\n")).toMatch(new RegExp(`^arm-smmu-v3 ${SMMUS[smmu]}: event: F_TRANSLATION `, "m"));
      const other = SMMUS[smmu === "smmu0" ? "smmu1" : "smmu0"];
      expect(events(rig).filter((line) => line.includes(other))).toEqual([]);
    });
  });

  it("show by DMA that one was attached nowhere, with the strategy shared-container", async () => {
    const strategy = "shared-container";
    const rig = rigOf(subject, { bugs: { attachesNowhere: true } });
    {
      await using space = await open(subject, rig, strategy);
      await expect(subject.prove(rig, space)).rejects.toThrow();
      expect(space.audit().differences).toEqual([]);
    }
    // Blocked without a word: that is what makes this bug so bad.
    expect(rig.machine.kernelLog).toEqual([]);
    const verify = (space: IoAddressSpace) => subject.prove(rig, space);
    const devices = subject.names(rig);
    await refused("ERR_IOSPAN_VERIFY_FAILED", () => IoAddressSpace.open(rig.machine, devices, { strategy, verify }));
    expect(rig.openFiles()).toEqual([]);
  });

  it("are refused by what an iommufd answers where one is attached nowhere, with the strategy iommufd", async () => {
    const rig = rigOf(subject, { bugs: { attachesNowhere: true } });
    const error = await refused("ERR_IOSPAN_ATTACH_REFUSED", () => open(subject, rig, "iommufd"));
    expect(error.message).toMatch(/blocks its DMA$/);
    expect(rig.openFiles()).toEqual([]);
  });

  it("are attached with containers of their own where attaching to another's domain is without effect", async () => {
    const rig = rigOf(subject, { bugs: { attachesNowhere: true } });
    await using space = await open(subject, rig, "mirrored");
    await subject.prove(rig, space);
  });

  it("have auto mirror where an iommufd's answers tell, without being asked to verify", async () => {
    const rig = rigOf(subject, { bugs: { attachesNowhere: true } });
    await using space = await IoAddressSpace.open(rig.machine, subject.names(rig));
    expect(space.strategy).toBe("mirrored");
    await subject.prove(rig, space);
  });

  it("have auto mirror when it may verify what the kernel says", async () => {
    const rig = rigOf(subject, { bugs: { attachesNowhere: true }, iommufd: false });
    const devices = subject.names(rig);
    const proven: StrategyName[] = [];
    const verify = async (space: IoAddressSpace) => {
      proven.push(space.strategy);
      await subject.prove(rig, space);
    };
    await using space = await IoAddressSpace.open(rig.machine, devices, { verify });
    expect(space.strategy).toBe("mirrored");
    expect(proven).toEqual(["shared-container", "mirrored"]);
    expect(space.plan.map(({ strategy, chosen }) => [strategy, chosen])).toEqual([
      ["iommufd", false],
      ["shared-container", false],
      ["mirrored", true],
    ]);
    expect(space.plan[1]?.reason).toMatch(/options\.verify failed/);
  });

  it("have auto take the first strategy where verifying finds nothing wrong", async () => {
    const rig = rigOf(subject, {});
    let proofs = 0;
    const verify = async (space: IoAddressSpace) => {
      await subject.prove(rig, space);
      proofs += 1;
    };
    await using space = await IoAddressSpace.open(rig.machine, subject.names(rig), { verify });
    expect(space.plan[0]).toMatchObject({ strategy: "iommufd", chosen: true });
    expect(proofs).toBe(1);
  });

  describe("on Linux 6.14, which attaches to another SMMU's domain without effect", () => {
    it("have auto mirror, with the reason, without being asked to verify", async () => {
      const rig = rigOf(subject, { release: "6.14" });
      await using space = await IoAddressSpace.open(rig.machine, subject.names(rig));
      expect(space.strategy).toBe("mirrored");
      const passedOver = space.plan.slice(0, -1);
      expect(passedOver.length).toBeGreaterThan(0);
      for (const { reason } of passedOver)
        expect(reason).toMatch(/Linux 6\.14\.0 (would say|says) .* and blocks? its DMA/);
      await subject.prove(rig, space);
      expect(rig.machine.kernelLog).toEqual([]);
    });

    it.each(ONE_FOR_ALL)("are refused with the strategy %s", async (strategy) => {
      const rig = rigOf(subject, { release: "6.14" });
      const error = await refused("ERR_IOSPAN_ATTACH_REFUSED", () => open(subject, rig, strategy));
      expect(error.message).toMatch(/Linux 6\.14\.0/);
      expect(error.hint).toMatch(/mirrored/);
      expect(rig.openFiles()).toEqual([]);
    });

    it("are shown by DMA to be blocked where the release does not tell", async () => {
      const rig = rigOf(subject, { release: "6.14" });
      const machine = { syscalls: disguised(rig.machine.syscalls, "6.13.0-of-my-own") };
      const devices = subject.names(rig);
      {
        await using space = await IoAddressSpace.open(machine, devices, { strategy: "shared-container" });
        await expect(subject.prove(rig, space)).rejects.toThrow();
      }
      const verify = (space: IoAddressSpace) => subject.prove(rig, space);
      await using space = await IoAddressSpace.open(machine, devices, { verify });
      expect(space.strategy).toBe("mirrored");
    });
  });
});

/** The same kernel, which says that it is another release. */
function disguised<S extends { readFile(path: string): string; readBytes(path: string): Uint8Array }>(
  syscalls: S,
  release: string,
): S {
  return new Proxy(syscalls, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== "function") return value;
      if (property !== "readFile") return value.bind(target);
      return (path: string) => (path === "/proc/sys/kernel/osrelease" ? `${release}\n` : target.readFile(path));
    },
  });
}
