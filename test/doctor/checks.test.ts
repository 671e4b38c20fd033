import { describe, expect, it } from "vitest";
import type { Outcome } from "../../src/doctor/check.js";
import { checks } from "../../src/doctor/checks.js";
import { iova } from "../../src/iova.js";
import {
  answered,
  behind,
  device,
  group,
  type PatientSpec,
  patient,
  pci,
  platform,
  refused,
  SYSFS,
  smmu,
  TREE,
} from "./support/patient.js";

/** What a check makes of a patient: what it is expected to come to, worst first, and the patient. */
type Case = readonly [what: string, outcomes: readonly Outcome[], spec: PatientSpec];

const FIRMWARE_ONLY: PatientSpec = {
  kernel: null,
  sources: [TREE],
  devices: [pci({ group: undefined, driver: undefined, links: [behind("smmu3.0x1000", { via: "iommu-map" })] })],
};
const unbound = (changes: Parameters<typeof pci>[0] = {}): PatientSpec => ({
  devices: [pci({ driver: null, ...changes })],
  facts: { "0000:01:00.0": { vfioDevice: undefined } },
  answers: { 1: { holders: [], answer: { asked: "not asked", why: "no device of it is on a VFIO driver" } } },
});
const silent = { holders: [], answer: { asked: "not asked", why: "--no-probe" } } as const;
const intel = smmu("dmar0", { kind: "intel" });
const behindIntel = pci({ links: [behind("dmar0")] });
const direct = (release: string): PatientSpec => ({
  devices: [pci()],
  groups: [group(1, { reserved: [{ start: 0x1000n, end: 0x1fffn, type: "direct" }] })],
  kernel: { release },
});
const REFUSED_DIRECT = [
  "vfio-pci 0000:01:00.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting",
];
const WITHOUT_REMAPPING =
  'vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support on this platform';
/** A function or a port that nobody asked the kernel about, and a log. */
const isolationOf = (devices: PatientSpec["devices"], log: readonly string[], more: PatientSpec = {}): PatientSpec => ({
  devices: devices ?? [],
  answers: { 1: silent, 2: silent },
  kernel: { log },
  ...more,
});
const ITS = "ITS [mem 0x08080000-0x0809ffff]";
const V2M = "GICv2m: range[mem 0x08020000-0x08020fff], SPI[80:143]";
const bits39 = answered({ ranges: [{ start: iova(0), end: iova(2n ** 39n - 1n) }] });

const cases: Readonly<Record<string, readonly Case[]>> = {
  "IOSPAN-IOMMU-OFF": [
    ["IOMMUs and groups", ["PASS"], {}],
    ["neither", ["FAIL"], { devices: [pci({ group: null, links: [] })], iommus: [], groups: [] }],
    [
      "groups of VFIO's making alone",
      ["FAIL"],
      { devices: [pci()], iommus: [], groups: [group(1)], facts: { "0000:01:00.0": { noiommu: true } } },
    ],
    ["an IOMMU in firmware", ["PASS"], { ...FIRMWARE_ONLY }],
    [
      "an IOMMU that firmware disables",
      ["FAIL"],
      { ...FIRMWARE_ONLY, iommus: [smmu("smmu", { enabled: false, disabledBecause: 'status = "disabled"' })] },
    ],
  ],
  "IOSPAN-NOIOMMU": [
    ["the mode off", ["PASS"], {}],
    ["a device without an IOMMU", ["FAIL"], { facts: { "0000:01:00.0": { noiommu: true } } }],
    ["the mode on, and nobody in it", ["WARN"], { parameters: { "vfio.enable_unsafe_noiommu_mode": "Y" } }],
    ["the mode on, written as 1", ["WARN"], { parameters: { "vfio.enable_unsafe_noiommu_mode": "1" } }],
    ["firmware alone", ["CANNOT-CHECK"], FIRMWARE_ONLY],
  ],
  "IOSPAN-NOT-TRANSLATED": [
    ["devices in groups", ["PASS"], {}],
    ["one in none, with a driver", ["FAIL"], { devices: [pci({ group: null, driver: "nvme", links: [] })] }],
    [
      "one without a driver, on Linux 6.14",
      ["WARN"],
      { devices: [pci({ group: null, driver: null })], kernel: { release: "6.14.9+deb13-arm64" } },
    ],
    [
      "one without a driver, on Linux 6.15",
      ["FAIL"],
      { devices: [pci({ group: null, driver: null })], kernel: { release: "6.15.0" } },
    ],
    ["no group anywhere", [], { devices: [pci({ group: null })], iommus: [], groups: [] }],
    ["firmware alone", ["CANNOT-CHECK"], FIRMWARE_ONLY],
  ],
  "IOSPAN-FIRMWARE": [
    ["no firmware", [], {}],
    ["no finding", ["PASS"], { sources: [SYSFS, TREE] }],
    [
      "a finding about a device",
      ["WARN"],
      {
        sources: [SYSFS, TREE],
        findings: [{ id: "iommu-differs", severity: "warning", about: pci().path, text: "it is behind another" }],
      },
    ],
    [
      "a finding about another",
      ["PASS"],
      {
        sources: [SYSFS, TREE],
        findings: [{ id: "iommu-differs", severity: "warning", about: "/other", text: "it is behind another" }],
      },
    ],
  ],
  "IOSPAN-SEVERAL-IOMMUS": [
    ["no firmware", [], {}],
    ["one each", ["PASS"], { sources: [SYSFS, TREE] }],
    ["two SMMUs, of which Linux takes the first", ["WARN"], several("arm,smmu-v3")],
    ["two of rockchip's, of which Linux takes the last", ["WARN"], several("rockchip")],
    ["two of exynos', which Linux programs both", ["PASS"], several("exynos")],
    ["two of qcom's, which Linux refuses", ["FAIL"], several("qcom")],
  ],
  "IOSPAN-COHERENCY": [
    ["devices that VFIO has", ["PASS"], {}],
    ["an SMMU that is not coherent", ["FAIL"], { ...unbound(), iommus: [smmu("smmu3.0x1000", { coherent: false })] }],
    ["one that is", ["PASS"], { ...unbound(), iommus: [smmu("smmu3.0x1000", { coherent: true })] }],
    ["one of which nobody tells", ["CANNOT-CHECK"], unbound()],
    ["a device that is not", ["WARN"], { devices: [platform({ coherent: false })] }],
  ],
  "IOSPAN-DIRECT-MAPPING": [
    ["a window for interrupts", ["PASS"], {}],
    [
      "a direct one",
      ["FAIL"],
      { devices: [pci()], groups: [group(1, { reserved: [{ start: 0x1000n, end: 0x1fffn, type: "direct" }] })] },
    ],
    [
      "a relaxable one",
      ["PASS"],
      {
        devices: [pci()],
        groups: [group(1, { reserved: [{ start: 0x1000n, end: 0x1fffn, type: "direct-relaxable" }] })],
      },
    ],
    ["a direct one, on a release that insists for Intel's alone", ["WARN"], direct("6.5.13")],
    [
      "a direct one behind Intel's on the same",
      ["FAIL"],
      { ...direct("6.5.13"), devices: [behindIntel], iommus: [intel] },
    ],
    [
      "the kernel's refusal, of something that is not there any more",
      ["WARN"],
      { devices: [pci()], kernel: { log: REFUSED_DIRECT } },
    ],
    ["the kernel's refusal, and the region", ["FAIL"], { ...direct("7.3.4"), kernel: { log: REFUSED_DIRECT } }],
    ["groups that are not known", [], FIRMWARE_ONLY],
  ],
  "IOSPAN-TYPE1": [
    ["a container that answered", ["PASS"], { modules: { vfio_iommu_type1: undefined } }],
    ["the module", ["PASS"], { ...unbound() }],
    ["no backend at all", ["FAIL"], { ...unbound(), modules: { vfio_iommu_type1: false, iommufd: false } }],
    ["an iommufd, perhaps in its place", ["WARN"], { ...unbound(), modules: { vfio_iommu_type1: false } }],
    [
      "a refusal for want of a backend",
      ["FAIL"],
      { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_NO_VFIO", { errno: 19 }) } },
    ],
    ["no node for containers", ["FAIL"], { ...unbound(), vfio: { nodes: new Map([["/dev/iommu", undefined]]) } }],
    ["no /sys/module", ["CANNOT-CHECK"], { ...unbound(), modules: { vfio_iommu_type1: undefined } }],
    ["firmware alone", ["CANNOT-CHECK"], FIRMWARE_ONLY],
  ],
  "IOSPAN-VFIO-DRIVER": [
    ["both drivers", ["PASS"], unbound()],
    ["no vfio-pci", ["FAIL"], { ...unbound(), vfio: { drivers: [{ bus: "platform", name: "vfio-platform" }] } }],
    [
      "a variant for other devices",
      ["FAIL"],
      { ...unbound(), vfio: { drivers: [{ bus: "pci", name: "mlx5_vfio_pci" }] } },
    ],
    [
      "no vfio-platform, and no use for it",
      ["PASS"],
      { ...unbound(), vfio: { drivers: [{ bus: "pci", name: "vfio-pci" }] } },
    ],
    ["no device, and no vfio-pci", ["FAIL"], { devices: [], vfio: { drivers: [] } }],
    ["buses that cannot be listed", ["CANNOT-CHECK"], { vfio: { drivers: undefined } }],
  ],
  "IOSPAN-PLATFORM-RESET": [
    ["PCI devices alone", [], { devices: [pci()] }],
    ["one that is bound", ["PASS"], {}],
    [
      "one that was refused",
      ["FAIL"],
      unboundPort({
        kernel: { log: ["vfio-platform 9030000.port: VFIO: No reset function found for device 9030000.port"] },
      }),
    ],
    ["one that mainline cannot reset", ["WARN"], unboundPort({})],
    ["one that mainline can reset", ["PASS"], unboundPort({}, ["amd,xgbe-seattle-v1a"])],
    ["a kernel that does not insist", ["PASS"], unboundPort({ parameters: { "vfio_platform.reset_required": "N" } })],
    ["the same, written as 0", ["PASS"], unboundPort({ parameters: { "vfio_platform.reset_required": "0" } })],
    ["one that is not known", ["CANNOT-CHECK"], unboundPort({}, [])],
  ],
  "IOSPAN-DRIVER-REFUSED": [
    ["devices that are bound", [], {}],
    ["a quiet log", ["PASS"], unbound()],
    [
      "the denylist",
      ["FAIL"],
      {
        ...unbound(),
        kernel: {
          log: ["vfio-pci 0000:01:00.0: 8086:0435 exists in vfio-pci device denylist, driver probing disallowed."],
        },
      },
    ],
    [
      "virtual functions",
      ["FAIL"],
      { ...unbound(), kernel: { log: ["vfio-pci 0000:01:00.0: Cannot bind to PF with SR-IOV enabled"] } },
    ],
    [
      "another device's",
      ["PASS"],
      { ...unbound(), kernel: { log: ["vfio-pci 0000:02:00.0: Cannot bind to PF with SR-IOV enabled"] } },
    ],
    ["a bridge", ["FAIL"], unbound({ driver: "pcieport", pci: { vendor: 1, device: 1, class: 0x060400 } })],
    ["no log", ["CANNOT-CHECK"], { ...unbound(), kernel: { log: undefined } }],
  ],
  "IOSPAN-BINDING": [
    ["devices on VFIO", ["PASS"], {}],
    ["one without a driver", ["FAIL"], unbound()],
    ["one on nvme", ["FAIL"], unbound({ driver: "nvme" })],
    ["one on a variant", ["PASS"], { devices: [pci({ driver: "mlx5_vfio_pci" })] }],
    [
      "one whose driver nobody tells",
      ["CANNOT-CHECK"],
      { devices: [pci({ driver: undefined })], facts: { "0000:01:00.0": { vfioDevice: undefined } } },
    ],
    ["one on a bus without VFIO", ["CANNOT-CHECK"], { devices: [device("amba0", { bus: "amba", driver: null })] }],
    ["firmware alone", ["CANNOT-CHECK"], FIRMWARE_ONLY],
  ],
  "IOSPAN-GROUP-VIABLE": [
    ["groups of one", ["PASS"], {}],
    ["a companion on snd_hda_intel", ["FAIL"], { others: [companion("snd_hda_intel")] }],
    ["a companion on pcieport", ["PASS"], { others: [companion("pcieport")] }],
    ["a companion on pci-stub", ["PASS"], { others: [companion("pci-stub")] }],
    ["a companion on vfio-pci", ["PASS"], { others: [companion("vfio-pci")] }],
    ["a companion without a driver", ["PASS"], { others: [companion(null)] }],
    [
      "a refusal without a companion to be seen",
      ["FAIL"],
      { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_GROUP_NOT_VIABLE") } },
    ],
    ["a companion whose driver nobody tells", ["CANNOT-CHECK"], { devices: [pci()], others: [companion(undefined)] }],
  ],
  "IOSPAN-NODE-PERMISSION": [
    ["groups that were opened", ["PASS"], {}],
    ["groups without a node, unbound", [], unbound()],
    ["mode bits that let in", ["PASS"], closed({})],
    ["mode bits of another user", ["FAIL"], closed({ process: { uid: 1001 } })],
    ["mode bits of another user, and CAP_DAC_OVERRIDE", ["PASS"], closed({ process: { uid: 1001, capabilities: 2n } })],
    [
      "the device cgroup",
      ["FAIL"],
      { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_NO_PERMISSION", { errno: 1 }) } },
    ],
    ["EACCES", ["FAIL"], { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_NO_PERMISSION", { errno: 13 }) } }],
    ["a node that is not there", ["FAIL"], closed({ vfio: { nodes: new Map([["/dev/vfio/vfio", undefined]]) } })],
    ["no /dev", ["CANNOT-CHECK"], closed({ vfio: { nodes: undefined } })],
    ["no mode bits", ["CANNOT-CHECK"], closed({ vfio: { nodes: new Map([["/dev/vfio/1", undefined]]) } })],
  ],
  "IOSPAN-GROUP-BUSY": [
    ["groups that were opened", ["PASS"], {}],
    [
      "a holder",
      ["FAIL"],
      { devices: [pci()], answers: { 1: { holders: [{ pid: 4711, command: "qemu" }], answer: silent.answer } } },
    ],
    [
      "a holder that cannot be seen",
      ["FAIL"],
      { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_GROUP_BUSY", { errno: 16 }) } },
    ],
    ["nobody, as root sees", ["PASS"], closed({ process: { uid: 0 } })],
    ["nobody, as a user sees", ["CANNOT-CHECK"], closed({})],
    ["no /proc", ["CANNOT-CHECK"], { devices: [pci()], answers: { 1: { holders: undefined, answer: undefined } } }],
  ],
  "IOSPAN-MSI-ISOLATION": [
    ["groups that were taken", ["PASS"], {}],
    [
      "a refusal",
      ["FAIL"],
      { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_UNSAFE_INTERRUPTS", { errno: 1 }) } },
    ],
    [
      "a switch that accepts the risk",
      ["PASS"],
      { devices: [pci()], answers: { 1: silent }, parameters: { "vfio_iommu_type1.allow_unsafe_interrupts": "Y" } },
    ],
    [
      "Intel's with remapping",
      ["PASS"],
      {
        devices: [behindIntel],
        iommus: [intel],
        answers: { 1: silent },
        kernel: { log: ["DMAR-IR: Enabled IRQ remapping in x2apic mode"] },
      },
    ],
    [
      "Intel's without",
      ["FAIL"],
      {
        devices: [behindIntel],
        iommus: [intel],
        answers: { 1: silent },
        kernel: { log: ["DMAR-IR: Not enabling interrupt remapping"] },
      },
    ],
    [
      "intremap=off",
      ["FAIL"],
      {
        devices: [behindIntel],
        iommus: [intel],
        answers: { 1: silent },
        kernel: { commandLine: "ro intremap=off quiet" },
      },
    ],
    [
      "intremap=off, which means nothing on Arm",
      ["CANNOT-CHECK"],
      { devices: [pci()], answers: { 1: silent }, kernel: { commandLine: "intremap=off" } },
    ],
    [
      "AMD's that were switched off for what firmware says",
      ["FAIL"],
      isolationOf([pci({ links: [behind("ivhd0")] })], ["AMD-Vi: Disabling interrupt remapping"], {
        iommus: [smmu("ivhd0", { kind: "amd" })],
      }),
    ],
    [
      "a switch written as 1",
      ["PASS"],
      { ...unbound(), parameters: { "vfio_iommu_type1.allow_unsafe_interrupts": "1" } },
    ],
    ["type1's line in the log, which names no group", ["CANNOT-CHECK"], isolationOf([pci()], [WITHOUT_REMAPPING])],
    [
      "type1's line in the log of a machine that remaps",
      ["PASS"],
      isolationOf([behindIntel], ["DMAR-IR: Enabled IRQ remapping in x2apic mode", WITHOUT_REMAPPING], {
        iommus: [intel],
      }),
    ],
    ["a function, and an ITS", ["PASS"], isolationOf([pci()], [ITS])],
    ["a function, and a GICv2m", ["FAIL"], isolationOf([pci()], [V2M])],
    ["a port, and an ITS", ["CANNOT-CHECK"], isolationOf([platform()], [ITS])],
    ["a port, and a GICv2m", ["FAIL"], isolationOf([platform()], [V2M])],
    [
      "a pre-ITS",
      ["FAIL"],
      isolationOf([pci()], [ITS, "GIC: enabling workaround for ITS: Socionext Synquacer pre-ITS"]),
    ],
    ["nothing that tells", ["CANNOT-CHECK"], unbound()],
  ],
  "IOSPAN-TRIAL": [
    ["groups that were opened", ["PASS"], {}],
    ["a refusal of its own", ["FAIL"], { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_ATTACH_REFUSED") } }],
    [
      "a refusal that another check explains",
      [],
      { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_GROUP_BUSY") } },
    ],
    ["no trial", [], { devices: [pci()], answers: { 1: silent } }],
  ],
  "IOSPAN-SILENT-ATTACH": [
    ["Linux 7.3", ["PASS"], {}],
    ["Linux 6.14", ["WARN"], { kernel: { release: "6.14.0" } }],
    ["Linux 6.15.2", ["WARN"], { kernel: { release: "6.15.2-arch1" } }],
    ["Linux 6.15.3", ["PASS"], { kernel: { release: "6.15.3" } }],
    ["Linux 6.13", ["PASS"], { kernel: { release: "6.13.12" } }],
    ["Linux 6.14 and one SMMU", [], { devices: [pci()], kernel: { release: "6.14.0" } }],
    ["a release that nobody tells", ["CANNOT-CHECK"], { kernel: { release: undefined } }],
  ],
  "IOSPAN-MEMLOCK": [
    ["no limit", ["PASS"], {}],
    ["64 KiB", ["FAIL"], { process: { memlock: { soft: 65536, hard: 65536 } } }],
    [
      "64 KiB, and CAP_IPC_LOCK",
      ["PASS"],
      { process: { memlock: { soft: 65536, hard: 65536 }, capabilities: 1n << 14n } },
    ],
    [
      "64 KiB, and CAP_IPC_LOCK in a user namespace",
      ["FAIL"],
      { process: { memlock: { soft: 65536, hard: 65536 }, capabilities: 1n << 14n, hasAllUsers: false } },
    ],
    ["8 MiB", ["WARN"], { process: { memlock: { soft: 2 ** 23, hard: 2 ** 23 } } }],
    [
      "8 MiB that the log says were too few",
      ["FAIL"],
      {
        process: { memlock: { soft: 2 ** 23, hard: 2 ** 23 } },
        kernel: { log: ["vfio_pin_pages_remote: RLIMIT_MEMLOCK (8388608) exceeded"] },
      },
    ],
    [
      "8 MiB after a lower limit was too low",
      ["WARN"],
      {
        process: { memlock: { soft: 2 ** 23, hard: 2 ** 23 } },
        kernel: { log: ["vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"] },
      },
    ],
    ["4 GiB", ["PASS"], { process: { memlock: { soft: 2 ** 32, hard: 2 ** 32 } } }],
    ["a limit that nobody tells", ["CANNOT-CHECK"], { process: { memlock: undefined } }],
  ],
  "IOSPAN-DMA-ENTRIES": [
    ["as usual", ["PASS"], {}],
    ["few", ["WARN"], { parameters: { "vfio_iommu_type1.dma_entry_limit": "100" } }],
    ["none", ["FAIL"], { parameters: { "vfio_iommu_type1.dma_entry_limit": "0" } }],
    ["no type1", [], { modules: { vfio_iommu_type1: false } }],
    ["a parameter that cannot be read", ["CANNOT-CHECK"], { parameters: { "vfio_iommu_type1.dma_entry_limit": "" } }],
  ],
  "IOSPAN-RESERVED": [
    ["48 bits", ["PASS"], {}],
    ["39 bits", ["WARN"], { answers: { 2: bits39 } }],
    [
      "nothing in common",
      ["FAIL"],
      {
        answers: {
          1: answered({ ranges: [{ start: iova(0), end: iova(0xfff) }] }),
          2: answered({ ranges: [{ start: iova(0x1000), end: iova(0x1fff) }] }),
        },
      },
    ],
    ["no answer", ["CANNOT-CHECK"], unbound()],
    ["firmware alone, and what its SMMU's driver keeps", ["CANNOT-CHECK"], FIRMWARE_ONLY],
    ["no devices", [], { devices: [] }],
  ],
  "IOSPAN-PAGE-SIZE": [
    ["the same on both", ["PASS"], {}],
    ["64 KiB and more on one", ["WARN"], { answers: { 2: answered({ pageSizes: 0x20010000n }) } }],
    [
      "one of the processor's size that the other lacks",
      ["WARN"],
      {
        kernel: { pageSize: 65536 },
        answers: { 1: answered({ pageSizes: 0x1000n }), 2: answered({ pageSizes: 0x10000n }) },
      },
    ],
    ["no answer", ["CANNOT-CHECK"], unbound()],
  ],
  "IOSPAN-FAULTS": [
    ["a quiet log", ["PASS"], {}],
    [
      "a fault of a device",
      ["WARN"],
      {
        kernel: {
          log: [
            "vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0011 address=0x60000000 flags=0x0020]",
          ],
        },
      },
    ],
    [
      "a fault of another",
      ["PASS"],
      {
        kernel: {
          log: [
            "vfio-pci 0000:02:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0011 address=0x60000000 flags=0x0020]",
          ],
        },
      },
    ],
    ["no log", ["CANNOT-CHECK"], { kernel: { log: undefined } }],
  ],
  "IOSPAN-IOMMUFD": [
    ["nodes for all", ["PASS"], {}],
    ["none of it", ["PASS"], { modules: { iommufd: false }, vfio: { nodes: new Map() } }],
    ["no node for a device", ["WARN"], { facts: { "0000:01:00.0": { vfioDevice: undefined } } }],
    ["a module without its node", ["WARN"], { vfio: { nodes: new Map() } }],
    ["no /dev", ["CANNOT-CHECK"], { vfio: { nodes: undefined } }],
  ],
  "IOSPAN-HUGE-PAGES": [
    ["free ones", ["PASS"], {}],
    ["none reserved", ["PASS"], { kernel: { hugePages: new Map([[2 ** 21, { free: 0, total: 0 }]]) } }],
    ["all in use", ["WARN"], { kernel: { hugePages: new Map([[2 ** 21, { free: 0, total: 4 }]]) } }],
    ["no pools", ["CANNOT-CHECK"], { kernel: { hugePages: new Map() } }],
  ],
  "IOSPAN-NO-RESET": [
    ["a method", ["PASS"], { devices: [pci()] }],
    ["none", ["WARN"], { devices: [pci()], facts: { "0000:01:00.0": { resetMethods: "" } } }],
    ["a kernel that does not tell", [], { devices: [pci()], facts: { "0000:01:00.0": { resetMethods: undefined } } }],
    ["firmware alone", ["CANNOT-CHECK"], FIRMWARE_ONLY],
  ],
};

function several(kind: "arm,smmu-v3" | "rockchip" | "exynos" | "qcom"): PatientSpec {
  const text = "9030000.port has several IOMMUs";
  return {
    sources: [SYSFS, TREE],
    devices: [platform({ links: [behind("a"), behind("b", { via: "iommus", used: false })] })],
    iommus: [smmu("a", { kind }), smmu("b", { kind })],
    findings: [{ id: "several-iommus", severity: "warning", about: platform().path, text }],
  };
}

function unboundPort(spec: PatientSpec, compatible = ["acme,port"]): PatientSpec {
  return {
    ...spec,
    devices: [platform({ driver: null, compatible })],
    facts: { "9030000.port": { vfioDevice: undefined } },
  };
}

function companion(driver: string | null | undefined) {
  return device("0000:01:00.1", { driver, group: 1 });
}

/** A group on VFIO that nobody has asked the kernel about. */
function closed(spec: PatientSpec): PatientSpec {
  return { ...spec, devices: [pci()], facts: { "0000:01:00.1": {} }, answers: { 1: silent } };
}

/** With an empty vfio-dev a companion on another driver would count as VFIO's. */
const withoutNode = (spec: PatientSpec): PatientSpec => ({
  ...spec,
  facts: { ...spec.facts, "0000:01:00.1": { vfioDevice: undefined } },
});

describe.each(checks)("$id", (check) => {
  it.each(cases[check.id] ?? [])("on %s", (_what, expected, spec) => {
    const found = check.run(patient(withoutNode(spec)));
    expect(
      [...new Set(found.map(({ outcome }) => outcome))].filter(
        (outcome) => outcome !== "PASS" || expected.includes("PASS"),
      ),
    ).toEqual(expected);
    for (const { outcome, text, fix } of found) {
      expect(text).not.toMatch(/undefined|\[object/);
      // What is wrong is worth nothing without a way out.
      if (outcome !== "PASS") expect(fix.join("").length, text).toBeGreaterThan(0);
      else expect(fix).toEqual([]);
    }
  });

  it("has cases for what is wrong and what is right", () => {
    const seen = (cases[check.id] ?? []).flatMap(([, outcomes]) => outcomes);
    expect(seen).toContain("PASS");
    expect(seen.some((outcome) => outcome === "FAIL" || outcome === "WARN")).toBe(true);
  });
});
