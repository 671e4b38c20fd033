import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { outcomes } from "../../src/doctor/check.js";
import { checks } from "../../src/doctor/checks.js";
import { examine } from "../../src/doctor/examine.js";
import { iommuKinds } from "../../src/topology/topology.js";
import {
  answered,
  behind,
  device,
  group,
  MSI,
  type PatientSpec,
  patient,
  pci,
  platform,
  refused,
  SYSFS,
  smmu,
  TREE,
} from "./support/patient.js";

const unknown = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const driver = fc.constantFrom("vfio-pci", "nvme", "pcieport", null, undefined);
const groupNumber = fc.constantFrom(1, 2, null, undefined);
const via = fc.constantFrom("sysfs", "iommus", "iommu-map", "dmar");
const links = fc.array(
  fc.record({ to: fc.constantFrom("smmu3.0x1000", "smmu3.0x2000", "gone"), via, used: unknown(fc.boolean()) }),
  { maxLength: 3 },
);
const part = fc.record({
  driver,
  group: groupNumber,
  links: links.map((all) => all.map(({ to, ...rest }) => behind(to, rest))),
  coherent: unknown(fc.boolean()),
});
const answer = unknown(
  fc.oneof(
    fc.constant(answered().answer),
    fc.constant(answered({ ranges: [], pageSizes: 0n, entries: undefined }).answer),
    fc.constant({ asked: "not asked", why: "it was not" } as const),
    fc
      .tuple(
        fc.constantFrom("GROUP_BUSY", "NO_PERMISSION", "UNSAFE_INTERRUPTS", "ATTACH_REFUSED"),
        unknown(fc.constantFrom(1, 13)),
      )
      .map(([code, errno]) => refused(`ERR_IOSPAN_${code}`, errno === undefined ? {} : { errno }).answer),
  ),
);
const facts = fc.record({
  driverOverride: unknown(fc.constantFrom("vfio-pci", "vfio_pci", "nvme")),
  vfioDevice: unknown(fc.constant("vfio3")),
  resetMethods: unknown(fc.constantFrom("", "flr")),
  noiommu: fc.boolean(),
});
const groupFacts = fc.record({ holders: unknown(fc.constantFrom([], [{ pid: 4711, command: "qemu" }])), answer });
const status = unknown(fc.record({ mode: fc.constantFrom(0o600, 0o666, 0o660), uid: fc.nat(1), gid: fc.nat(1) }));
const node = fc.constantFrom("/dev/vfio/vfio", "/dev/vfio/1", "/dev/iommu", "/dev/vfio/devices/vfio3");
const limit = fc.constantFrom(0, 65536, 2 ** 23, Number.POSITIVE_INFINITY);

/** A machine of which anything may not be known. */
const holed: fc.Arbitrary<PatientSpec> = fc
  .record({
    parts: fc.tuple(part, part, part),
    kinds: fc.tuple(fc.constantFrom(...iommuKinds), fc.constantFrom(...iommuKinds)),
    hasGroups: fc.boolean(),
    sources: fc.constantFrom([SYSFS], [TREE], [SYSFS, TREE]),
    kernel: fc.option(
      fc.record({
        release: unknown(fc.constantFrom("6.12.107", "6.14.0", "7.3.4", "custom")),
        commandLine: unknown(fc.constantFrom("quiet", "iommu=off intremap=off")),
        pageSize: unknown(fc.constantFrom(4096, 65536)),
        hugePages: fc.constantFrom(new Map(), new Map([[2 ** 21, { free: 0, total: 1 }]])),
        log: unknown(fc.constantFrom([], ["vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"])),
      }),
    ),
    drivers: unknown(fc.constantFrom([], [{ bus: "pci", name: "vfio-pci" }] as const)),
    nodes: unknown(fc.array(fc.tuple(node, status)).map((entries) => new Map(entries))),
    modules: fc.record({ vfio_iommu_type1: unknown(fc.boolean()), iommufd: unknown(fc.boolean()) }),
    entries: fc.constantFrom("", "0", "65535", "many"),
    process: fc.record({
      memlock: unknown(limit.map((soft) => ({ soft, hard: soft }))),
      capabilities: unknown(fc.constantFrom(0n, 2n, 1n << 14n)),
      hasAllUsers: unknown(fc.boolean()),
      uid: unknown(fc.constantFrom(0, 1)),
      groups: unknown(fc.constantFrom([], [1])),
    }),
    facts: fc.tuple(facts, facts, facts),
    groups: fc.tuple(groupFacts, groupFacts),
  })
  .map((all) => specOf(all));

function specOf(all: {
  readonly [key: string]: unknown;
  readonly parts: readonly [object, object, object];
  readonly kinds: readonly [(typeof iommuKinds)[number], (typeof iommuKinds)[number]];
  readonly hasGroups: boolean;
  readonly entries: string;
  readonly facts: readonly [object, object, object];
  readonly groups: readonly [object, object];
}): PatientSpec {
  const { parts, kinds, hasGroups, facts: known, groups, drivers, nodes, entries, ...rest } = all;
  return {
    ...rest,
    devices: [pci(parts[0]), platform(parts[1])],
    others: [device("0000:01:00.1", parts[2])],
    iommus: [smmu("smmu3.0x1000", { kind: kinds[0] }), smmu("smmu3.0x2000", { kind: kinds[1] })],
    groups: hasGroups ? [group(1, { reserved: [MSI, { ...MSI, type: "direct" }] }), group(2)] : [],
    vfio: { drivers, nodes } as PatientSpec["vfio"] & object,
    parameters: { "vfio_iommu_type1.dma_entry_limit": entries },
    facts: { "0000:01:00.0": known[0], "9030000.port": known[1], "0000:01:00.1": known[2] },
    answers: { 1: groups[0], 2: groups[1] },
  };
}

describe("every check, whatever is not known", () => {
  it("comes to something that can be read, with a way out where something is wrong", () => {
    fc.assert(
      fc.property(holed, (spec) => {
        const { survey, devices } = patient(spec);
        for (const check of checks) {
          for (const { outcome, text, evidence, fix } of check.run({ survey, devices })) {
            expect(outcomes).toContain(outcome);
            expect([text, ...evidence, ...fix].join("\n")).not.toMatch(/undefined|NaN|\[object|(?<!\()null|Infinity/);
            expect(fix.length > 0, `${check.id}: ${text}`).toBe(outcome !== "PASS");
          }
        }
        const { worst, checks: made } = examine(survey);
        expect(made.some(({ outcome }) => outcome === "FAIL")).toBe(worst === "FAIL");
      }),
      { numRuns: 1500 },
    );
  });
});
