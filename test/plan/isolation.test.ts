import { describe, expect, it } from "vitest";
import { planSpace } from "../../src/plan/planner.js";
import type { GroupAnswer, KernelFacts } from "../../src/survey/survey.js";
import type { IommuKind } from "../../src/topology/topology.js";
import { answered, device, iommu, kernel, topologyOf } from "./support/made-up.js";

interface Machine {
  readonly kind: IommuKind;
  readonly names?: readonly string[];
  readonly answer?: GroupAnswer;
  readonly facts?: Partial<KernelFacts>;
}

/** A plan for devices that are all behind one IOMMU, and on VFIO. */
function planned({ kind, names = ["0000:01:00.0"], answer, facts }: Machine) {
  const devices = names.map((name, at) => device(name, "a", { group: at + 1 }));
  const topology = topologyOf(devices, [iommu("a", kind, { coherent: true })]);
  const groups = { 1: { answer } };
  const plan = planSpace({ topology, kernel: { ...kernel({ groups }), ...facts } }, names);
  const mirrored = plan.strategies.find(({ strategy }) => strategy === "mirrored");
  const traps = plan.traps.filter(({ id }) => id === "interrupt-isolation").map(({ text }) => text);
  return { plan, mirrored, traps, steps: plan.steps.map(({ id }) => id) };
}

const ITS = "ITS [mem 0x08080000-0x0809ffff]";
const V2M = "GICv2m: range[mem 0x08020000-0x08020fff], SPI[80:143]";

describe("isolated interrupts", () => {
  it("are proved by a group that the kernel took, and by nothing where it was told not to mind", () => {
    expect(planned({ kind: "intel", answer: answered() }).traps).toEqual([]);
    const { vfio } = kernel();
    const parameters = new Map([["vfio_iommu_type1.allow_unsafe_interrupts", "1"]]);
    const lax = planned({ kind: "intel", answer: answered(), facts: { vfio: { ...vfio, parameters } } });
    expect(lax.traps).toHaveLength(1);
    const all = new Map([...parameters, ["iommufd.allow_unsafe_interrupts", "Y"]]);
    expect(planned({ kind: "intel", facts: { vfio: { ...vfio, parameters: all } } }).traps).toEqual([]);
  });

  it.each([
    ["intel", /unless interrupts are remapped, as is taken for granted here/],
    ["arm,smmu-v3", /unless its interrupts go to an ITS \(msi-map\), as is/],
    ["virtio", /on Arm by an ITS, on x86 by remapping/],
  ] as const)("of functions behind %s are taken for granted, and a trap says so", (kind, text) => {
    const { mirrored, traps } = planned({ kind, names: ["0000:01:00.0", "0000:02:00.0"] });
    expect(mirrored?.verdict).toBe("yes");
    expect(traps).toEqual([expect.stringMatching(text)]);
    expect(traps[0]).toContain("0000:01:00.0 and 0000:02:00.0");
  });

  it.each([
    ["intel", { log: ["DMAR-IR: Enabled IRQ remapping in x2apic mode"] }],
    ["amd", { log: ["AMD-Vi: Interrupt remapping enabled"] }],
    ["arm,smmu-v3", { log: [ITS] }],
  ] as const)("of functions behind %s are seen in the log", (kind, facts) => {
    const { mirrored, traps } = planned({ kind, facts });
    expect([mirrored?.verdict, traps]).toEqual(["yes", []]);
  });

  it.each([
    ["intel", { log: ["DMAR-IR: Not enabling interrupt remapping"] }],
    ["intel", { commandLine: "ro intremap=off" }],
    ["amd", { commandLine: "nointremap" }],
    ["amd", { log: ["AMD-Vi: Disabling interrupt remapping"] }],
    ["arm,smmu", { log: [V2M] }],
    ["arm,smmu-v3", { log: [ITS, "GIC: enabling workaround for ITS: Socionext Synquacer pre-ITS"] }],
  ] as const)("are missing behind %s where there is %j: a step accepts the risk", (kind, facts) => {
    const { mirrored, steps } = planned({ kind, facts });
    expect(mirrored?.verdict).toBe("yes");
    expect(steps).toContain("allow-unsafe-interrupts");
  });

  it("of a platform device are not there without an ITS, and not proved by one", () => {
    const names = ["9030000.port"];
    const { steps, traps } = planned({ kind: "arm,smmu", names, facts: { log: [V2M] } });
    expect(steps).toContain("allow-unsafe-interrupts");
    expect(traps).toEqual(["the interrupts of 9030000.port are not isolated from others' DMA"]);
    const unproved = planned({ kind: "arm,smmu", names, facts: { log: [ITS] } });
    expect(unproved.steps).not.toContain("allow-unsafe-interrupts");
    expect(unproved.traps).toEqual([expect.stringContaining("msi-parent; nothing read tells")]);
  });
});
