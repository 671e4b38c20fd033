import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { packageFile } from "../../src/cli/package-files.js";
import { binding } from "../../src/doctor/checks/binding.js";
import { directMapping } from "../../src/doctor/checks/direct-mapping.js";
import { faults } from "../../src/doctor/checks/faults.js";
import { groupViable } from "../../src/doctor/checks/group-viable.js";
import { iommuOff } from "../../src/doctor/checks/iommu-off.js";
import { memlock } from "../../src/doctor/checks/memlock.js";
import { msiIsolation } from "../../src/doctor/checks/msi-isolation.js";
import { nodePermission } from "../../src/doctor/checks/node-permission.js";
import { notTranslated } from "../../src/doctor/checks/not-translated.js";
import { pageSize } from "../../src/doctor/checks/page-size.js";
import { reserved } from "../../src/doctor/checks/reserved.js";
import { checks } from "../../src/doctor/checks.js";
import { examine } from "../../src/doctor/examine.js";
import { iova } from "../../src/iova.js";
import {
  answered,
  behind,
  device,
  group,
  only,
  patient,
  pci,
  platform,
  refused,
  SYSFS,
  smmu,
} from "./support/patient.js";

describe("examine", () => {
  it("takes what VFIO has or shall have, and the interfaces of engines", () => {
    const bare = { driver: null } as const;
    const { survey } = patient({
      devices: [pci(), device("0000:05:00.0", bare), device("0000:06:00.0", bare), platform(bare)],
      facts: {
        "0000:05:00.0": { driverOverride: "vfio-pci", vfioDevice: undefined },
        "0000:06:00.0": { vfioDevice: undefined },
        "9030000.port": { vfioDevice: undefined },
      },
    });
    const engines = [{ name: "engine", interfaces: [platform().path] }];
    const found = examine({ ...survey, topology: { ...survey.topology, engines } });
    expect(found.devices).toEqual(["0000:01:00.0", "0000:05:00.0", "9030000.port"]);
  });

  it("takes each device once, and the worst outcome", () => {
    const { survey } = patient({ process: { memlock: { soft: 65536, hard: 65536 } } });
    const found = examine(survey, ["0000:01:00.0", "01:00.0"]);
    expect(found.devices).toEqual(["0000:01:00.0"]);
    expect(found.worst).toBe("FAIL");
    expect(found.checks.filter(({ outcome }) => outcome === "FAIL").map(({ id }) => id)).toEqual(["IOSPAN-MEMLOCK"]);
    expect(found.leftOut).toContain("IOSPAN-SILENT-ATTACH");
  });

  it("makes every check at most once, in the order of mending", () => {
    const { survey } = patient();
    const ids = examine(survey).checks.map(({ id }) => id);
    const known = checks.map(({ id }) => id);
    expect(ids).toEqual(known.filter((id) => ids.includes(id)));
    expect(examine(survey, [], { only: [memlock] }).checks.map(({ id, page }) => [id, page])).toEqual([
      ["IOSPAN-MEMLOCK", "docs/doctor.md#iospan-memlock"],
    ]);
  });

  it("says nothing of devices where there are none, and something of the machine", () => {
    const found = examine(patient({ devices: [] }).survey);
    expect(found.worst).toBe("PASS");
    expect(found.checks.map(({ id }) => id)).toEqual([
      "IOSPAN-IOMMU-OFF",
      "IOSPAN-NOIOMMU",
      "IOSPAN-TYPE1",
      "IOSPAN-VFIO-DRIVER",
      "IOSPAN-MEMLOCK",
      "IOSPAN-DMA-ENTRIES",
      "IOSPAN-IOMMUFD",
      "IOSPAN-HUGE-PAGES",
    ]);
  });
});

describe("what checks say", () => {
  it("names the words of the command line that leave the IOMMU off", () => {
    const kernel = { commandLine: "root=/dev/vda intel_iommu=sm_on,off iommu=pt" };
    const found = only(iommuOff, "FAIL", { devices: [], iommus: [], groups: [], kernel });
    expect(found.evidence).toContain("/proc/cmdline: intel_iommu=sm_on,off");
    expect(found.fix).toEqual(["take intel_iommu=sm_on,off from the kernel's command line and boot again"]);
  });

  it("asks for Intel's IOMMU to be switched on where firmware describes one", () => {
    const iommus = [smmu("dmar", { kind: "intel", paths: { dmar: "unit0" } })];
    const found = only(iommuOff, "FAIL", { devices: [], iommus, groups: [], sources: [SYSFS] });
    expect(found.fix).toEqual(["add intel_iommu=on to the kernel's command line and boot again"]);
  });

  it("says where firmware puts a device that the kernel does not translate for", () => {
    const links = [behind("smmu3.0x1000", { via: "iommus" })];
    const found = only(notTranslated, "FAIL", { devices: [pci({ group: null, driver: "nvme", links })] });
    expect(found.text).toContain("firmware says otherwise");
    expect(found.evidence).toContain("iommus puts it behind smmu3.0x1000");
  });

  it("knows a device that shares its StreamID", () => {
    const log = [
      "vfio-pci 0000:01:00.0: Aliasing StreamID 0x100 (from 0000:01:00.1) unsupported, expect DMA to be broken",
    ];
    const found = only(notTranslated, "FAIL", {
      devices: [pci({ group: null, driver: null })],
      kernel: { log, release: "6.12.0" },
    });
    expect(found.evidence).toEqual(expect.arrayContaining(log));
    expect(found.fix[0]).toContain("cannot tell it from its neighbour");
  });

  it("says to unbind first where the override is set and another driver has the device", () => {
    const found = only(binding, "FAIL", {
      devices: [pci({ driver: "nvme" })],
      facts: { "0000:01:00.0": { driverOverride: "vfio-pci", vfioDevice: undefined } },
    });
    expect(found.text).toBe(
      "0000:01:00.0 is on nvme: its driver_override says vfio-pci, which counts only once nvme has let go",
    );
    expect(found.fix).toContain("echo 0000:01:00.0 > /sys/bus/pci/devices/0000:01:00.0/driver/unbind");
  });

  it("names every companion that is in the way, with how to bind it", () => {
    const others = ["0000:01:00.1", "0000:01:00.2"].map((name) => device(name, { driver: "xhci_hcd", group: 1 }));
    const found = groupViable.run(
      patient({
        devices: [pci()],
        others,
        facts: Object.fromEntries(others.map(({ name }) => [name, { vfioDevice: undefined }])),
      }),
    );
    expect(found.map(({ fix: [first] }) => first)).toEqual([
      "sudo iospan bind 0000:01:00.1",
      "sudo iospan bind 0000:01:00.2",
    ]);
    expect(found[0]?.evidence).toEqual(["/sys/kernel/iommu_groups/1/devices/0000:01:00.1/driver -> xhci_hcd"]);
  });

  it("divides the limit on locked memory by the containers", () => {
    const process = { memlock: { soft: 2 ** 26, hard: 2 ** 26 }, locked: 2 ** 25, pinned: 2 ** 24 };
    const vfio = { nodes: new Map() };
    expect(only(memlock, "WARN", { process, vfio }).text).toBe(
      "the limit is 64 MiB: at most 16 MiB can be mapped, since 2 containers count each page 2 times",
    );
    expect(only(memlock, "WARN", { process, vfio, devices: [pci()] }).text).toBe(
      "the limit is 64 MiB: at most 32 MiB can be mapped",
    );
    expect(only(memlock, "WARN", { process, devices: [pci()] }).text).toBe(
      "the limit is 64 MiB: at most 32 MiB can be mapped; " +
        "through an iommufd at most 48 MiB, less what this user's other processes pin there",
    );
  });

  it("shows type1's line of a refusal beside the refusal of that group, and alone as no proof", () => {
    const line = "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param";
    const answer = refused("ERR_IOSPAN_UNSAFE_INTERRUPTS", { errno: 1 });
    const spec = { devices: [pci()], kernel: { log: [line] } };
    expect(only(msiIsolation, "FAIL", { ...spec, answers: { 1: answer } }).evidence).toContain(line);
    const silent = { holders: [], answer: undefined };
    expect(only(msiIsolation, "CANNOT-CHECK", { ...spec, answers: { 1: silent } }).evidence).toEqual([
      `${line} (of a group that it does not name)`,
    ]);
  });

  it("knows what a driver keeps where firmware alone was read", () => {
    const windows = (kind: "virtio" | "amd") => {
      const link = behind("iommu0", { used: undefined, via: "iommu-map" });
      const devices = [pci({ group: undefined, driver: undefined, links: [link] })];
      return only(reserved, "CANNOT-CHECK", { kernel: null, devices, iommus: [smmu("iommu0", { kind })] }).text;
    };
    expect(windows("virtio")).toBe("never mapped: 0x8000000-0x80fffff; the kernel may keep more");
    expect(windows("amd")).toContain("0xfee00000-0xfeefffff, 0xfd00000000-0xffffffffff");
  });

  it("says with which errno memory that firmware keeps is refused", () => {
    const iommus = [smmu("dmar0", { kind: "intel" })];
    const found = (release: string) => {
      const groups = [group(1, { reserved: [{ start: 0x1000n, end: 0x1fffn, type: "direct" }] })];
      const devices = [pci({ links: [behind("dmar0")] })];
      return only(directMapping, "FAIL", { devices, iommus, groups, kernel: { release } }).text;
    };
    expect(found("6.5.0")).toContain("(EPERM)");
    expect(found("6.6.0")).toContain("(EINVAL)");
  });

  it("tells mode bits from the device cgroup", () => {
    const answers = (errno: number) => ({
      devices: [pci()],
      answers: { 1: refused("ERR_IOSPAN_NO_PERMISSION", { errno, hint: "allow it" }) },
    });
    expect(only(nodePermission, "FAIL", answers(1)).text).toContain("the device cgroup forbids it");
    expect(only(nodePermission, "FAIL", answers(1)).fix).toEqual(["allow it"]);
    expect(only(nodePermission, "FAIL", answers(13)).fix.join()).toContain('SUBSYSTEM=="vfio", OWNER="NAME"');
  });

  it("lets the node's group in, and its owner by the owner's bits alone", () => {
    const outcome = (mode: number, process: { readonly uid: number; readonly groups: readonly number[] }) => {
      const nodes = new Map([
        ["/dev/vfio/vfio", { mode: 0o666, uid: 0, gid: 0 }],
        ["/dev/vfio/1", { mode, uid: 0, gid: 78 }],
      ]);
      const answers = { 1: { answer: { asked: "not asked", why: "--no-probe" } as const } };
      const spec = { devices: [pci()], vfio: { nodes }, process: { ...process, capabilities: 0n }, answers };
      return nodePermission
        .run(patient(spec))
        .map((each) => each.outcome)
        .join();
    };
    expect(outcome(0o660, { uid: 1000, groups: [1000, 78] })).toBe("PASS");
    expect(outcome(0o660, { uid: 1000, groups: [1000] })).toBe("FAIL");
    expect(outcome(0o606, { uid: 1000, groups: [78] })).toBe("FAIL");
    expect(outcome(0o066, { uid: 0, groups: [78] })).toBe("FAIL");
  });

  it("looks at the container's node, too", () => {
    const status = { mode: 0o20600, uid: 1000, gid: 0 };
    const nodes = new Map([
      ["/dev/vfio/vfio", { ...status, uid: 0 }],
      ["/dev/vfio/1", status],
    ]);
    const answer = { asked: "not asked", why: "--no-probe" } as const;
    const found = only(nodePermission, "FAIL", { devices: [pci()], vfio: { nodes }, answers: { 1: { answer } } });
    expect(found.fix).toEqual(["sudo chmod 0666 /dev/vfio/vfio (its usual mode)"]);
  });

  it("has a remedy for interrupts by the kind of IOMMU", () => {
    const spec = { devices: [pci()], answers: { 1: refused("ERR_IOSPAN_UNSAFE_INTERRUPTS", { errno: 1 }) } };
    expect(only(msiIsolation, "FAIL", spec).fix).toEqual([
      "give the device an msi-parent (an ITS) in the device tree",
      "accept the risk: echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    ]);
  });

  it("says how far IOVAs reach, and who is the reason", () => {
    const bits39 = answered({ ranges: [{ start: iova(0), end: iova(2n ** 39n - 1n) }] });
    const found = only(reserved, "WARN", { answers: { 2: bits39 } });
    expect(found.text).toContain("nothing beyond 0x7fffffffff (39 bits)");
    expect(found.evidence).toContain("0x8000000-0x80fffff: removed by smmu3.0x1000");
    expect(found.evidence.join()).toContain("removed by smmu3.0x2000");
  });

  it("says what mappings have to be multiples of", () => {
    const found = only(pageSize, "WARN", { answers: { 2: answered({ pageSizes: 0x20010000n }) } });
    expect(found.text).toBe("mappings are multiples of 64 KiB, more than the processor's pages (4 KiB)");
    expect(found.evidence).toEqual(["smmu3.0x1000: 4 KiB, 2 MiB, 1 GiB", "smmu3.0x2000: 64 KiB, 512 MiB"]);
  });

  it("takes a StreamID for a device's only behind the same IOMMU", () => {
    const log = ["arm-smmu-v3 c000000.iommu: event 0x10 received:", "arm-smmu-v3 c000000.iommu: \t0x0000010000000010"];
    const rest = ["0x0000020800000000", "0x0000000060000000", "0x0000000000000000"];
    const kernel = { log: [...log, ...rest.map((word) => `arm-smmu-v3 c000000.iommu: \t${word}`)] };
    const links = [behind("smmu3.0x1000", { ids: [{ first: 0x100, count: 1 }] })];
    const at = (name: string) => ({
      devices: [pci({ links })],
      kernel,
      iommus: [smmu("smmu3.0x1000", { device: name })],
    });
    expect(only(faults, "WARN", at("c000000.iommu")).device).toBe("0000:01:00.0");
    const others = [
      behind("smmu3.0x1000", {
        ids: [
          { first: 0xf0, count: 16 },
          { first: 0x101, count: 4 },
        ],
      }),
    ];
    const beside = { ...at("c000000.iommu"), devices: [pci({ links: others })] };
    expect(faults.run(patient(beside)).map(({ outcome }) => outcome)).toEqual(["PASS"]);
    expect(faults.run(patient(at("d000000.iommu"))).map(({ outcome }) => outcome)).toEqual(["PASS"]);
  });
});

describe("docs/doctor.md", () => {
  const text = readFileSync(packageFile("docs/doctor.md"), "utf8");
  const sections = text.split(/^## /m).slice(1);

  it("has a section for each check, in the same order", () => {
    expect(sections.map((section) => section.split("\n")[0])).toEqual(checks.map(({ id }) => id));
  });

  it.each(sections.map((section) => [section.split("\n")[0], section]))(
    "says of %s what, why, how and where",
    (_id, section) => {
      const parts = [...(section ?? "").matchAll(/^\*\*(.*?)\.\*\*/gm)].map(([, title]) => title);
      expect(parts).toEqual(["What you see", "Why", "How to mend it", "In the kernel"]);
    },
  );
});
