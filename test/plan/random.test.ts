import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Plan, type Verdict, verdicts } from "../../src/plan/plan.js";
import { planToJson } from "../../src/plan/plan-to-json.js";
import { Planner } from "../../src/plan/planner.js";
import type { GroupAnswer, Survey } from "../../src/survey/survey.js";
import { type IommuKind, iommuKinds, type TopologyDevice } from "../../src/topology/topology.js";
import { answered, device, iommu, kernel, topologyOf } from "./support/made-up.js";

const MOST_IOMMUS = 4;
const some = <T>(...values: readonly T[]) => fc.constantFrom(...values);

/** A device, by what can be peculiar about one. */
const anyDevice = fc.record({
  /** Most have one. */
  behind: fc.option(fc.nat({ max: MOST_IOMMUS - 1 }), { freq: 9 }),
  isPci: fc.boolean(),
  driver: some("vfio", "other", null, undefined),
  hasGroup: fc.boolean(),
  enabled: fc.boolean(),
  used: some(true, true, true, false, undefined),
  coherent: some(true, false, undefined),
  vfioDevice: fc.boolean(),
  answer: fc.constantFrom<GroupAnswer | undefined>(
    answered(),
    answered({ pageSizes: 0x2001_0000n }),
    { asked: "refused", code: "ERR_IOSPAN_UNSAFE_INTERRUPTS", message: "refused", hint: "", errno: 1 },
    { asked: "refused", code: "ERR_IOSPAN_ATTACH_REFUSED", message: "refused", hint: "", errno: 22 },
    { asked: "not asked", why: "/dev/vfio/vfio is an iommufd, which knows the IOMMU only when a device is open" },
    undefined,
  ),
});

const anyIommu = fc.record({
  kind: fc.oneof(some<IommuKind>("arm,smmu-v3", "intel", "amd", "arm,smmu"), some(...iommuKinds)),
  enabled: some(true, true, true, false),
  coherent: some(true, true, false, undefined),
});

const anyKernel = fc.option(
  fc.record({
    release: some("5.10.0", "6.1.9", "6.10.0", "6.14.2", "6.15.3", "7.3.4", undefined),
    unsafe: fc.subarray(["vfio_iommu_type1.allow_unsafe_interrupts", "iommufd.allow_unsafe_interrupts"]),
    nodes: fc.option(fc.subarray(["/dev/iommu"]), { nil: undefined }),
    hasIommufd: some(true, false, undefined),
  }),
  { nil: undefined, freq: 5 },
);

type DeviceSpec = typeof anyDevice extends fc.Arbitrary<infer T> ? T : never;

/** Groups are devices of one IOMMU, as they are. */
function madeUp(spec: DeviceSpec, at: number): TopologyDevice {
  const name = spec.isPci ? `0000:${(at + 1).toString(16).padStart(2, "0")}:00.0` : `${at + 1}000000.unit`;
  const behind = spec.behind === null ? undefined : `iommu ${spec.behind}`;
  const driver = spec.driver === "vfio" ? (spec.isPci ? "vfio-pci" : "vfio-platform") : spec.driver;
  const group = spec.hasGroup && behind !== undefined ? (spec.behind ?? 0) * 4 + (at % 4) : undefined;
  const made = device(name, behind, { driver, group, enabled: spec.enabled, coherent: spec.coherent });
  return { ...made, links: made.links.map((link) => ({ ...link, used: spec.used })) };
}

const anySurvey: fc.Arbitrary<Survey> = fc
  .tuple(
    fc.array(anyDevice, { minLength: 3, maxLength: 8 }),
    fc.array(anyIommu, { minLength: MOST_IOMMUS, maxLength: MOST_IOMMUS }),
    anyKernel,
  )
  .map(([specs, iommus, facts]) => {
    const devices = specs.map(madeUp);
    const topology = topologyOf(
      devices,
      iommus.map((each, at) => iommu(`iommu ${at}`, each.kind, each)),
    );
    return { topology, kernel: facts === undefined ? undefined : kernelOf(devices, specs, facts) };
  });

function kernelOf(
  devices: readonly TopologyDevice[],
  specs: readonly DeviceSpec[],
  facts: {
    release: string | undefined;
    unsafe: string[];
    nodes: string[] | undefined;
    hasIommufd: boolean | undefined;
  },
): Survey["kernel"] {
  const known = devices.map(({ path }, at) => [path, { vfioDevice: specs[at]?.vfioDevice ? `vfio${at}` : undefined }]);
  const groups = devices.flatMap(({ group }, at) =>
    typeof group === "number" ? [[group, { answer: specs[at]?.answer }] as const] : [],
  );
  const { vfio } = kernel();
  const cdevs = devices.map((_, at) => `/dev/vfio/devices/vfio${at}`);
  const paths = facts.nodes && ["/dev/vfio/vfio", ...cdevs, ...facts.nodes];
  return kernel({
    release: facts.release,
    devices: Object.fromEntries(known),
    groups: Object.fromEntries(groups),
    vfio: {
      parameters: new Map(facts.unsafe.map((name) => [name, "Y"])),
      modules: { ...vfio.modules, iommufd: facts.hasIommufd },
      nodes: paths && new Map(paths.map((path) => [path, undefined])),
    },
  });
}

/** A machine, and some of its devices. */
const anyQuestion = anySurvey.chain((survey) =>
  fc.record({
    survey: fc.constant(survey),
    names: fc.shuffledSubarray(
      survey.topology.devices.map(({ name }) => name),
      { minLength: 2 },
    ),
  }),
);

const rank = (verdict: Verdict) => ["no", "unknown", "yes"].indexOf(verdict);
const verdictsOf = (plan: Plan) => plan.strategies.map(({ verdict }) => verdict);

describe("whatever the machine", () => {
  it("a device more never makes anything possible", () => {
    fc.assert(
      fc.property(anyQuestion, ({ survey, names }) => {
        const planner = new Planner(survey);
        const [fewer, more] = [planner.plan(names.slice(1)), planner.plan(names)];
        // The way out of unsafe interrupts is offered to those together who need it: what was no without it stays no.
        if (more.steps.some(({ id }) => id === "allow-unsafe-interrupts")) return;
        expect(rank(more.verdict)).toBeLessThanOrEqual(rank(fewer.verdict));
        if (fewer.steps.some(({ id }) => id === "allow-unsafe-interrupts")) return;
        for (const [at, verdict] of verdictsOf(more).entries()) {
          expect(rank(verdict)).toBeLessThanOrEqual(rank(verdictsOf(fewer)[at] ?? "no"));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("the order of names says nothing", () => {
    fc.assert(
      fc.property(anyQuestion, ({ survey, names }) => {
        const planner = new Planner(survey);
        const [one, other] = [planner.plan(names), planner.plan(names.toReversed())];
        expect(verdictsOf(other)).toEqual(verdictsOf(one));
        const { verdict, recommended, entries, companions } = one;
        expect(other).toMatchObject({ verdict, recommended, entries, companions });
        expect(other.iovaRanges.known.ranges).toEqual(one.iovaRanges.known.ranges);
        expect(other.pageSizes).toMatchObject({ granule: one.pageSizes.granule });
        expect(other.strategies.map(({ timesPinned }) => timesPinned)).toEqual(
          one.strategies.map(({ timesPinned }) => timesPinned),
        );
      }),
      { numRuns: 300 },
    );
  });

  it("a plan agrees with itself", () => {
    fc.assert(
      fc.property(anyQuestion, ({ survey, names }) => {
        const plan = new Planner(survey).plan(names);
        const best = verdicts.filter((verdict) => verdictsOf(plan).includes(verdict));
        expect(rank(plan.verdict)).toBe(Math.max(...best.map(rank)));
        expect(plan.reason).not.toBe("");
        for (const each of [...plan.strategies, ...plan.devices]) {
          expect(each.reason).not.toBe("");
          if (each.verdict === "unknown") expect(each.reason).toMatch(/tells?\b|not known|not insist|depends on/);
        }
        expect(plan.memory.perStrategy.map(({ strategy }) => strategy)).toEqual(
          plan.strategies.filter(({ timesPinned }) => timesPinned !== undefined).map(({ strategy }) => strategy),
        );
        if (plan.recommended !== undefined) {
          expect(plan.strategies.find(({ strategy }) => strategy === plan.recommended)?.verdict).toBe("yes");
        }
        // VFIO hands nothing out behind what cannot be had, whatever the strategy.
        if (plan.devices.some(({ verdict }) => verdict === "no")) expect(plan.verdict).toBe("no");
        if (plan.verdict === "no") expect(plan.steps).toEqual([]);
        expect(JSON.parse(JSON.stringify(planToJson(plan)))).toMatchObject({ verdict: plan.verdict });
      }),
      { numRuns: 500 },
    );
  });

  it("mirrored works wherever one container or one that stands in for it does", () => {
    fc.assert(
      fc.property(anyQuestion, ({ survey, names }) => {
        const plan = new Planner(survey).plan(names);
        const [, shared, mirrored] = plan.strategies;
        expect(rank(mirrored?.verdict ?? "no")).toBeGreaterThanOrEqual(rank(shared?.verdict ?? "yes"));
      }),
      { numRuns: 500 },
    );
  });
});
