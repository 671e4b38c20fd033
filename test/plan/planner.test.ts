import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Plan } from "../../src/plan/plan.js";
import { planToJson } from "../../src/plan/plan-to-json.js";
import { planSpace } from "../../src/plan/planner.js";
import type { StrategyName } from "../../src/space/strategies/strategy.js";
import type { Survey } from "../../src/survey/survey.js";
import { type IommuKind, iommuKinds } from "../../src/topology/topology.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { answered, device, iommu, kernel, topologyOf, twoBehind } from "./support/made-up.js";

const BOTH = ["0000:01:00.0", "0000:02:00.0"];
const verdictOf = (plan: Plan, strategy: StrategyName) =>
  plan.strategies.find((each) => each.strategy === strategy)?.verdict;
const reasonOf = (plan: Plan, strategy: StrategyName) =>
  plan.strategies.find((each) => each.strategy === strategy)?.reason;
const steps = (plan: Plan) => plan.steps.map(({ id }) => id);
const traps = (plan: Plan) => plan.traps.map(({ id }) => id);

/** With drivers of Linux's own, so that VFIO has not said yes to anything. */
function unbound(survey: Survey): Survey {
  const devices = survey.topology.devices.map((each) => ({ ...each, driver: null }));
  return { ...survey, topology: { ...survey.topology, devices } };
}

/** What Linux 7.3's drivers say of coherency, see src/plan/coherency.ts. */
const TAKEN: Readonly<Record<IommuKind, Plan["verdict"]>> = {
  "arm,smmu-v3": "unknown",
  "arm,smmu": "unknown",
  intel: "yes",
  amd: "yes",
  virtio: "yes",
  qcom: "yes",
  ...{
    riscv: "no",
    rockchip: "no",
    verisilicon: "no",
    exynos: "no",
    apple: "no",
    mediatek: "no",
    renesas: "no",
    allwinner: "no",
  },
  ...{ sprd: "no", tegra: "no", msm: "no", omap: "no", other: "unknown" },
};

describe("whether VFIO takes what is behind", () => {
  it.each(iommuKinds)("%s", (kind) => {
    const plan = planSpace(unbound(twoBehind(kind)), BOTH);
    expect(plan.devices.map(({ verdict }) => verdict)).toEqual([TAKEN[kind], TAKEN[kind]]);
    expect(plan.verdict).toBe(TAKEN[kind]);
    if (TAKEN[kind] === "no") expect(plan.reason).toContain("EINVAL");
  });

  it.each([
    ["arm,smmu-v3", true, undefined, "yes"],
    ["arm,smmu-v3", false, true, "no"],
    ["arm,smmu-v3", undefined, true, "unknown"],
    ["arm,smmu", true, undefined, "yes"],
    ["arm,smmu", false, true, "yes"],
    ["arm,smmu", undefined, true, "yes"],
    ["arm,smmu", false, false, "no"],
    ["arm,smmu", false, undefined, "unknown"],
    ["arm,smmu", undefined, false, "unknown"],
  ] as const)("%s with coherent %s, and the device's %s", (kind, walks, own, verdict) => {
    const topology = topologyOf(
      [device("0000:01:00.0", "a", { group: 1, driver: null, coherent: own })],
      [iommu("a", kind, { coherent: walks })],
    );
    expect(planSpace({ topology, kernel: kernel() }, ["01:00.0"]).devices[0]?.verdict).toBe(verdict);
  });

  it.each([
    ["5.18.0", false, false, "yes"],
    ["6.1.0-49-arm64", false, false, "unknown"],
    ["6.1.0-49-arm64", false, true, "unknown"],
    ["6.1.0-49-arm64", true, false, "yes"],
    ["6.6.0", false, false, "no"],
    ["6.6.0", false, true, "yes"],
  ] as const)("an SMMUv2 on Linux %s with coherent %s, and the device's %s", (release, walks, own, verdict) => {
    const topology = topologyOf(
      [device("0000:01:00.0", "a", { group: 1, driver: null, coherent: own })],
      [iommu("a", "arm,smmu", { coherent: walks })],
    );
    expect(planSpace({ topology, kernel: kernel({ release }) }, ["01:00.0"]).devices[0]?.verdict).toBe(verdict);
  });

  it("an SMMUv3 that VFIO has taken another device behind", () => {
    const devices = [
      device("0000:01:00.0", "a", { group: 1, driver: null }),
      device("0000:02:00.0", "a", { group: 2 }),
    ];
    const topology = topologyOf(devices, [iommu("a", "arm,smmu-v3")]);
    expect(planSpace({ topology, kernel: kernel() }, ["01:00.0"]).verdict).toBe("yes");
  });

  it("what is no device for it", () => {
    const topology = topologyOf(
      [
        device("0000:00:01.0", "a", { group: 1, driver: "pcieport" }),
        device("dprc.1", "a", { group: 2, bus: "fsl-mc" }),
        device("0000:03:00.0", undefined, { group: 3 }),
        device("0000:04:00.0", undefined, { group: null, driver: "nvme" }),
        device("0000:05:00.0", undefined, { group: null, driver: null }),
        device("0000:07:00.0", "a", { group: null, driver: null }),
        device("0000:06:00.0", "off", { group: undefined, driver: undefined }),
      ],
      [iommu("a", "intel"), iommu("off", "intel", { enabled: false, disabledBecause: "its status is disabled" })],
    );
    const facts = kernel({ devices: { "/sys/bus/pci/devices/0000:03:00.0": { noiommu: true } } });
    const told = (name: string, release = "6.15.0") => {
      const { verdict, reason } = planSpace({ topology, kernel: { ...facts, release } }, [name]);
      return `${verdict}: ${reason}`;
    };
    expect(told("0000:00:01.0")).toMatch(/^no: .* PCI bridge/);
    expect(told("dprc.1")).toMatch(/^no: .*fsl-mc/);
    expect(told("0000:03:00.0")).toMatch(/^no: .*no-IOMMU mode/);
    expect(told("0000:04:00.0")).toMatch(/^no: .*in no IOMMU group/);
    expect(told("0000:05:00.0")).toMatch(/^no: .*in no IOMMU group/);
    expect(told("0000:05:00.0", "6.14.1")).toMatch(/^unknown: .*binding it to VFIO tells/);
    expect(told("0000:04:00.0", "6.14.1")).toMatch(/^no: .*in no IOMMU group/);
    expect(told("0000:07:00.0", "6.14.1")).toMatch(/^yes: /);
    expect(told("0000:07:00.0")).toMatch(/^no: .*in no IOMMU group/);
  });
});

describe("what the strategies come to", () => {
  it.each([
    ["arm,smmu-v3", "no"],
    ["arm,smmu", "no"],
    ["virtio", "no"],
    ["qcom", "no"],
    ["intel", "unknown"],
    ["amd", "yes"],
  ] as const)("one domain for two %s: %s", (kind, verdict) => {
    const plan = planSpace(twoBehind(kind), BOTH);
    expect(verdictOf(plan, "single-domain")).toBe(verdict);
    expect(plan.strategies.map((each) => each.timesPinned)).toEqual([1, 1, 2, verdict === "no" ? undefined : 1]);
    expect(plan.recommended).toBe("iommufd");
  });

  it("one domain for two devices behind one: but for drivers that give it addresses too late", () => {
    const behindOne = (kind: IommuKind, release?: string) =>
      verdictOf(planSpace(twoBehind(kind, { oneIommu: true, release: release ?? "7.3.4" }), BOTH), "single-domain");
    expect(behindOne("arm,smmu-v3")).toBe("yes");
    expect(behindOne("arm,smmu-v3", "6.10.9")).toBe("no");
    expect(behindOne("arm,smmu")).toBe("no");
    expect(behindOne("intel", "6.10.9")).toBe("yes");
  });

  it("one domain never for IOMMUs of different drivers", () => {
    const survey = twoBehind("amd");
    const iommus = survey.topology.iommus.map((each, at) => (at === 0 ? each : { ...each, kind: "intel" as const }));
    const plan = planSpace({ ...survey, topology: { ...survey.topology, iommus } }, BOTH);
    expect(verdictOf(plan, "single-domain")).toBe("no");
  });

  it.each([
    ["6.13.12", "yes", "iommufd"],
    ["6.14.0", "no", "mirrored"],
    ["6.14.11-300.fc42", "no", "mirrored"],
    ["6.15.2", "no", "mirrored"],
    ["6.15.3", "yes", "iommufd"],
    ["7.3.4", "yes", "iommufd"],
  ] as const)("on Linux %s one container for two SMMUv3s: %s", (release, verdict, recommended) => {
    const plan = planSpace(twoBehind("arm,smmu-v3", { release }), BOTH);
    expect(verdictOf(plan, "shared-container")).toBe(verdict);
    expect(verdictOf(plan, "mirrored")).toBe("yes");
    expect(plan.recommended).toBe(recommended);
    expect(traps(plan).includes("silent-attach")).toBe(verdict === "no");
    const elsewhere = planSpace(twoBehind("intel", { release }), BOTH);
    expect(verdictOf(elsewhere, "shared-container")).toBe("yes");
  });

  it("nothing is recommended where the release of two SMMUv3s' kernel is not known", () => {
    const plan = planSpace(twoBehind("arm,smmu-v3", { release: undefined }), BOTH);
    expect([verdictOf(plan, "iommufd"), verdictOf(plan, "shared-container")]).toEqual(["unknown", "unknown"]);
    expect(plan.verdict).toBe("yes");
    expect(plan.recommended).toBeUndefined();
    expect(reasonOf(plan, "shared-container")).toContain("uname -r");
  });

  it("no containers where the kernel was built without", () => {
    const survey = twoBehind("intel");
    const nodes = new Map(
      ["/dev/iommu", "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"].map((p) => [p, undefined]),
    );
    const facts = survey.kernel as NonNullable<Survey["kernel"]>;
    const plan = planSpace({ ...survey, kernel: { ...facts, vfio: { ...facts.vfio, nodes } } }, BOTH);
    expect(["iommufd", "shared-container", "mirrored"].map((each) => verdictOf(plan, each as StrategyName))).toEqual([
      ...["yes", "no", "no"],
    ]);
    expect([plan.verdict, plan.recommended]).toEqual(["yes", "iommufd"]);
  });

  it("one container not for IOMMUs without a page size in common, and an iommufd for none with larger pages", () => {
    const groups = { 1: { answer: answered() }, 2: { answer: answered({ pageSizes: 0x2001_0000n }) } };
    const plan = planSpace(twoBehind("arm,smmu-v3", { groups }), BOTH);
    expect(plan.strategies.map(({ verdict }) => verdict)).toEqual(["no", "no", "yes", "no"]);
    expect(plan.recommended).toBe("mirrored");
    expect(plan.pageSizes.granule).toBe(65536);
    expect(reasonOf(plan, "iommufd")).toContain("65536");
  });

  it("interrupts that are not isolated are accepted for nobody where one module takes them as they are", () => {
    const answer = {
      asked: "refused",
      code: "ERR_IOSPAN_UNSAFE_INTERRUPTS",
      message: "no",
      hint: "",
      errno: 1,
    } as const;
    const groups = { 1: { answer }, 2: { answer: answered() } };
    const strict = planSpace(twoBehind("intel", { groups }), BOTH);
    expect(strict.verdict).toBe("yes");
    expect(steps(strict)).toEqual(["allow-unsafe-interrupts", "allow-unsafe-interrupts"]);
    expect(strict.steps[0]?.commands).toEqual([
      "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    ]);
    const parameters = new Map([["iommufd.allow_unsafe_interrupts", "Y"]]);
    const base = twoBehind("intel", { groups });
    const facts = base.kernel as NonNullable<Survey["kernel"]>;
    const lax = planSpace({ ...base, kernel: { ...facts, vfio: { ...facts.vfio, parameters } } }, BOTH);
    expect(lax.strategies.map(({ verdict }) => verdict)).toEqual(["yes", "no", "no", "unknown"]);
    expect(steps(lax)).toEqual([]);
    expect(traps(lax)).toContain("interrupt-isolation");
  });

  it.each([
    ["intel", "6.5.0", "no", "(EPERM)"],
    ["intel", "6.6.0", "no", "(EINVAL)"],
    ["amd", "6.6.0", "no", "(EINVAL)"],
    ["amd", "6.5.0", "unknown", "may not insist"],
  ] as const)("a range that firmware wants mapped behind %s on Linux %s: %s", (kind, release, verdict, text) => {
    const survey = twoBehind(kind, { release });
    const reserved = [{ start: 0x1000n, end: 0x1fffn, type: "direct" }];
    const groups = survey.topology.groups.map((group) => ({ ...group, reserved }));
    const [first] = planSpace({ ...survey, topology: { ...survey.topology, groups } }, BOTH).devices;
    expect([first?.verdict, first?.reason]).toEqual([verdict, expect.stringContaining(text)]);
  });

  it("a range that firmware wants mapped is in the way of all", () => {
    const survey = twoBehind("intel");
    const groups = survey.topology.groups.map((group) =>
      group.number === 2 ? { ...group, reserved: [{ start: 0x1000n, end: 0x1fffn, type: "direct" }] } : group,
    );
    const plan = planSpace({ ...survey, topology: { ...survey.topology, groups } }, BOTH);
    expect(plan.verdict).toBe("no");
    expect(plan.reason).toContain("0x1000-0x1fff");
    expect(plan.steps).toEqual([]);
  });
});

describe("what is to be done first", () => {
  const names = ["0000:01:00.0"];
  const companionSurvey = (driver: string | null) => {
    const devices = [
      device("0000:01:00.0", "dmar0", { group: 1, driver: "nvme" }),
      device("0000:01:00.1", "dmar0", { group: 1, driver }),
      device("0000:00:01.0", "dmar0", { group: 1, driver: "pcieport" }),
    ];
    return { topology: topologyOf(devices, [iommu("dmar0", "intel")]), kernel: kernel() };
  };

  it("devices and companions are bound, with the commands for it", () => {
    const plan = planSpace(companionSurvey("snd_hda_intel"), names);
    expect(steps(plan)).toEqual(["bind", "bind-companion"]);
    expect(plan.steps[0]?.commands).toEqual([
      "echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override",
      "echo 0000:01:00.0 > /sys/bus/pci/devices/0000:01:00.0/driver/unbind",
      "echo 0000:01:00.0 > /sys/bus/pci/drivers_probe",
    ]);
    expect(plan.companions.map(({ name, isHarmless }) => [name, isHarmless])).toEqual([
      ["0000:00:01.0", true],
      ["0000:01:00.1", false],
    ]);
    expect(traps(plan)).toContain("group-of-several");
  });

  it("companions without a driver stay as they are", () => {
    expect(steps(planSpace(companionSurvey(null), names))).toEqual(["bind"]);
  });

  it("functions of other devices in one group tell of a bridge that does not keep them apart", () => {
    const devices = [device("0000:01:00.0", "dmar0", { group: 1 }), device("0000:02:00.0", "dmar0", { group: 1 })];
    const topology = topologyOf(devices, [iommu("dmar0", "intel")]);
    const plan = planSpace({ topology, kernel: kernel() }, names);
    expect(traps(plan)).toContain("no-acs");
  });

  it("modules are loaded, processes ended, nodes opened, the limit raised", () => {
    const survey = twoBehind("intel", {
      vfio: {
        drivers: [],
        modules: { ...kernel().vfio.modules, vfio: false, vfio_iommu_type1: false, iommufd: false },
        nodes: new Map([["/dev/vfio/1", { mode: 0o20600, uid: 0, gid: 0 }]]),
      },
      groups: { 1: { holders: [{ pid: 4711, command: "qemu" }] }, 2: {} },
      process: { uid: 1000, groups: [1000], capabilities: 0n, memlock: { soft: 8 * 2 ** 20, hard: 8 * 2 ** 20 } },
    });
    const plan = planSpace(unbound(survey), BOTH);
    expect(steps(plan)).toEqual(["load-module", "release-group", "bind", "bind", "permissions", "raise-memlock"]);
    expect(plan.steps[0]?.commands).toEqual(["modprobe vfio-pci", "modprobe vfio_iommu_type1"]);
    expect(plan.steps[1]?.text).toContain("4711 (qemu)");
    expect(plan.steps[4]?.commands).toEqual(["chown 1000 /dev/vfio/1"]);
  });

  it("a platform device without a reset handler takes a parameter", () => {
    const devices = [
      device("9030000.dma", "smmu3.0x0", { group: 1, driver: null, compatible: ["vendor,dma"] }),
      device("e0700000.xgmac", "smmu3.0x0", { group: 2, driver: null, compatible: ["amd,xgbe-seattle-v1a"] }),
    ];
    const topology = topologyOf(devices, [iommu("smmu3.0x0", "arm,smmu-v3", { coherent: true })]);
    const plan = (name: string) => planSpace({ topology, kernel: kernel() }, [name]);
    expect(steps(plan("9030000.dma"))).toEqual(["no-reset-required", "bind"]);
    expect(steps(plan("e0700000.xgmac"))).toEqual(["bind"]);
  });
});

describe("more to be done first", () => {
  const platform = device("9030000.dma", "smmu3.0x0", { group: 1, driver: null, compatible: ["vendor,dma"] });
  const topology = topologyOf([platform], [iommu("smmu3.0x0", "arm,smmu-v3", { coherent: true })]);

  it("vfio-platform is loaded with its parameter at once", () => {
    const { vfio } = kernel();
    const plan = planSpace({ topology, kernel: kernel({ vfio: { ...vfio, drivers: [] } }) }, ["dma"]);
    expect(plan.steps[0]).toMatchObject({
      id: "no-reset-required",
      commands: ["modprobe vfio-platform reset_required=0"],
    });
    const lax = new Map([["vfio_platform.reset_required", "N"]]);
    expect(steps(planSpace({ topology, kernel: kernel({ vfio: { ...vfio, parameters: lax } }) }, ["dma"]))).toEqual([
      "bind",
    ]);
  });

  it.each([
    ["ERR_IOSPAN_GROUP_BUSY", ["release-group"]],
    ["ERR_IOSPAN_NO_VFIO", ["load-module"]],
    ["ERR_IOSPAN_NO_PERMISSION", []],
  ])("a group that was refused with %s is worth %j", (code, ids) => {
    const answer = { asked: "refused", code, message: "refused", hint: "", errno: 16 } as const;
    const { vfio } = kernel();
    const modules = { ...vfio.modules, vfio_iommu_type1: false };
    const nodes = new Map(
      ["/dev/vfio/vfio", "/dev/iommu", "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"].map((p) => [p, undefined]),
    );
    const survey = twoBehind("intel", { groups: { 1: { answer }, 2: {} }, vfio: { ...vfio, modules, nodes } });
    const plan = planSpace(survey, BOTH);
    expect(verdictOf(plan, "mirrored")).toBe("yes");
    expect(steps(plan)).toEqual(ids);
  });
});

describe("limits and costs", () => {
  it("leave nothing where the IOMMUs have no address in common", () => {
    const range = (start: bigint, end: bigint) => ({ start, end }) as never;
    const groups = {
      1: { answer: answered({ ranges: [range(0n, 0xffffn)] }) },
      2: { answer: answered({ ranges: [range(0x1_0000n, 0x1_ffffn)] }) },
    };
    const plan = planSpace(twoBehind("amd", { groups }), BOTH);
    expect([plan.verdict, plan.reason]).toEqual(["no", "amd 0 and amd 1 have no address in common"]);
  });

  it("are what the kernel answered, with who removed what", () => {
    const range = (start: bigint, end: bigint) => ({ start, end }) as never;
    const groups = {
      1: { answer: answered({ ranges: [range(0n, 0xffffn)], entries: 100 }) },
      2: { answer: answered({ ranges: [range(0x1000n, 0x1_ffffn)], pageSizes: 0x20_1000n, entries: 50 }) },
    };
    const plan = planSpace(twoBehind("intel", { groups }), BOTH);
    expect(plan.iovaRanges.unknown).toEqual([]);
    expect(plan.iovaRanges.known.ranges).toEqual([{ start: 0x1000n, end: 0xffffn }]);
    expect(plan.iovaRanges.known.removed.map(({ by }) => by)).toEqual([
      ["intel 1"],
      ["intel 0"],
      ["intel 0", "intel 1"],
    ]);
    expect(plan.pageSizes.known).toEqual({ bitmap: 0x20_1000n, removed: [{ size: 2 ** 30, by: ["intel 1"] }] });
    expect(plan.pageSizes.granule).toBe(4096);
    expect(plan.entries).toEqual({
      perContainer: 50,
      reach: [4096, 2 ** 21, 2 ** 30].map((pageSize) => ({ pageSize, bytes: pageSize * 50 })),
    });
  });

  it("without an answer are all but what is reserved; what firmware wants for its own start is not", () => {
    const survey = twoBehind("intel", { groups: {} });
    const reserved = [
      { start: 0n, end: 0xfffn, type: "reserved" },
      { start: 0x2000n, end: 0x2fffn, type: "direct-relaxable" },
      { start: 0xfee0_0000n, end: 0xfeef_ffffn, type: "msi" },
    ];
    const groups = survey.topology.groups.map((group) => ({ ...group, reserved }));
    const plan = planSpace({ ...survey, topology: { ...survey.topology, groups } }, BOTH);
    expect(plan.iovaRanges.unknown).toEqual(["intel 0", "intel 1"]);
    expect(plan.iovaRanges.known.removed.map(({ start }) => start)).toEqual([0n, 0xfee0_0000n]);
    expect(plan.pageSizes).toMatchObject({ unknown: ["intel 0", "intel 1"], granule: undefined });
    expect(reasonOf(plan, "iommufd")).toContain("provided that");
    expect(traps(plan)).toContain("limits-unknown");
  });

  it("count a page for each container against the limit, unless that is lifted", () => {
    const MIB = 2 ** 20;
    const memlock = { soft: 64 * MIB, hard: 64 * MIB };
    const most = (process: object) => {
      const { memory } = planSpace(twoBehind("intel", { process: { memlock, ...process } }), BOTH);
      return [memory.isExempt, ...memory.perStrategy.map((each) => each.most)];
    };
    const locked = { locked: 4 * MIB, pinned: 32 * MIB, capabilities: 0n };
    expect(most(locked)).toEqual([false, 32 * MIB, 60 * MIB, 30 * MIB, 32 * MIB]);
    const capabilities = 1n << 14n;
    const none = Number.POSITIVE_INFINITY;
    expect(most({ capabilities, hasAllUsers: true })).toEqual([true, none, none, none, none]);
    expect(most({ capabilities, hasAllUsers: false })[0]).toBe(false);
    expect(most({ memlock: undefined })).toEqual([undefined, undefined, undefined, undefined, undefined]);
    const plan = planSpace(twoBehind("intel", { process: { memlock: { soft: none, hard: none } } }), BOTH);
    expect(JSON.stringify(planToJson(plan))).toContain('"limit":"unlimited"');
  });

  it("count a group that two devices are in once", () => {
    const devices = [device("0000:01:00.0", undefined, { group: 1 }), device("0000:01:00.1", undefined, { group: 1 })];
    const plan = planSpace({ topology: topologyOf(devices, []), kernel: kernel() }, ["01:00.0", "01:00.1"]);
    expect(plan.strategies.find(({ strategy }) => strategy === "mirrored")?.timesPinned).toBe(1);
    expect(plan.reason).toContain("the IOMMU of group 1");
  });
});

describe("a device tree alone", () => {
  const chip = (name: string, change = (text: string) => text) =>
    topologyOfDeviceTree(change(readFileSync(new URL(`../../chips/${name}.dts`, import.meta.url), "utf8")), name);

  it("tells what does not depend on the kernel", () => {
    const plan = planSpace({ topology: chip("dual-smmu"), kernel: undefined }, ["01:00.0", "dma-port"]);
    expect(plan.strategies.map(({ verdict }) => verdict)).toEqual(["unknown", "unknown", "yes", "no"]);
    expect([plan.verdict, plan.recommended]).toEqual(["yes", undefined]);
    expect(plan.iovaRanges.known.removed.map(({ start }) => start)).toEqual([0x800_0000n]);
    expect(traps(plan)).toEqual(expect.arrayContaining(["same-engine", "limits-unknown", "no-reset"]));
    expect(plan.memory.limit).toBeUndefined();
  });

  it("says which interface of an engine was left out", () => {
    const plan = planSpace({ topology: chip("dual-smmu"), kernel: undefined }, ["dma-port"]);
    expect(plan.traps.find(({ id }) => id === "other-interface")?.text).toContain("0000:01:00.0");
  });

  it("takes a host for the functions behind it, and finds functions that it does not list", () => {
    const survey = { topology: chip("dual-smmu"), kernel: undefined };
    const plan = planSpace(survey, ["4010000000.pcie", "0000:05:1f.3", "dma-port"]);
    expect(plan.verdict).toBe("yes");
    expect(plan.devices.map(({ name, iommus }) => [name, iommus.length])).toEqual([
      ["4010000000.pcie", 1],
      ["0000:05:1f.3", 1],
      ["9030000.dma-port", 1],
    ]);
    expect(verdictOf(planSpace(survey, ["4010000000.pcie", "0000:05:1f.3"]), "shared-container")).toBe("yes");
  });

  it.each(["with a device behind it", "with nothing behind it"])("knows a bridge by its node, %s", (content) => {
    const child = content === "with nothing behind it" ? "" : "nic@0,0 { reg = <0x0 0 0 0 0>; };";
    const bridge = `pcie@5,0 {
      device_type = "pci"; reg = <0x2800 0 0 0 0>; bus-range = <9 9>; #address-cells = <3>; #size-cells = <2>; ranges; ${child}
    };`;
    const topology = chip("dual-smmu", (text) => `${text}\n&pcie { ${bridge} };`);
    const told = planSpace({ topology, kernel: undefined }, ["0000:00:05.0"]);
    expect(told.reason).toBe("0000:00:05.0 is a PCI bridge, and VFIO takes endpoints only");
  });

  it("counts all IOMMUs that the functions behind a host may be behind", () => {
    const split = chip("dual-smmu", (text) =>
      text.replace(/iommu-map = <[^;]*>;/, "iommu-map = <0x0 &smmu0 0x0 0x8000>, <0x8000 &smmu1 0x8000 0x8000>;"),
    );
    const plan = planSpace({ topology: split, kernel: undefined }, ["4010000000.pcie"]);
    expect(plan.strategies.find(({ strategy }) => strategy === "mirrored")?.timesPinned).toBe(2);
    expect(verdictOf(plan, "single-domain")).toBe("no");
    const functions = planSpace({ topology: split, kernel: undefined }, ["0000:05:00.0", "0000:90:00.0"]);
    expect(functions.devices.map(({ iommus }) => iommus)).toEqual([
      ["smmu3.0x000000000c000000"],
      ["smmu3.0x000000000c020000"],
    ]);
  });

  it("refuses an SMMU that is not coherent, or is off", () => {
    const plain = chip("dual-smmu", (text) => text.replaceAll("dma-coherent;", ""));
    expect(planSpace({ topology: plain, kernel: undefined }, ["dma-port"])).toMatchObject({ verdict: "no" });
    const off = chip("dual-smmu", (text) => `${text}\n&smmu1 { status = "disabled"; };`);
    const plan = planSpace({ topology: off, kernel: undefined }, ["dma-port"]);
    expect(plan.reason).toMatch(/is off: its status is disabled/);
    expect(traps(plan)).toContain("disabled-iommu");
  });
});

describe("what is no question", () => {
  it.each([
    ["no names", []],
    ["a device by two names", ["01:00.0", "0000:01:00.0"]],
    ["nonsense", ["a/b\nc"]],
  ])("%s", (_, names) => {
    expect(() => planSpace(twoBehind("intel"), names)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/ERR_IOSPAN_(INVALID_ARGUMENT|NO_DEVICE)/) }),
    );
  });
});
