import { describe, expect, it } from "vitest";
import { readFaults } from "../../src/faults/fault-reader.js";

const read = (line: string) => readFaults(line).faults[0];

describe("a fault of AMD's IOMMU", () => {
  it.each([
    ["vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0010 address=0x7f001040 flags=0x0020]"],
    ["AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:01:00.0 domain=0x0010 address=0x7f001040 flags=0x0020]"],
    ["AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x0010 address=0x000000007f001040 flags=0x0020]"],
  ])("is the same from every kernel: %s", (line) => {
    expect(read(line)).toMatchObject({
      format: "amd-vi",
      type: "IO_PAGE_FAULT",
      cause: "not-mapped",
      device: { name: "0000:01:00.0", from: "log" },
      streamId: 0x100,
      domain: 16,
      address: 0x7f00_1040n,
      addressUnit: 1,
      access: "write",
      iommu: undefined,
    });
  });

  it.each([
    ["0x0000", { cause: "not-mapped", access: "read", privileged: undefined }],
    ["0x0050", { cause: "not-permitted", access: "read", privileged: true, instruction: false }],
    ["0x0074", { cause: "not-permitted", access: "write", privileged: false, instruction: false }],
    ["0x0052", { cause: "not-permitted", access: "read", instruction: true }],
    ["0x0008", { cause: "interrupt", access: undefined }],
  ])("with the flags %s is %o", (flags, facts) => {
    const line = `vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0010 address=0x1000 flags=${flags}]`;
    expect(read(line)).toMatchObject(facts);
  });

  it("may be of a device that is attached to nothing", () => {
    const lines = [
      "AMD-Vi: Event logged [Device not attached to domain properly]",
      "AMD-Vi:   device=0000:01:00.0 domain=0x0000",
    ];
    expect(readFaults(lines).faults).toMatchObject([
      { cause: "configuration", device: { name: "0000:01:00.0" }, domain: 0, line: 1 },
    ]);
    expect(readFaults(lines.slice(0, 1)).notices).toMatchObject([{ kind: "incomplete" }]);
  });

  it("may be of another kind, and then names the IOMMU", () => {
    const line =
      "pci 0000:00:00.2: AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:01:00.0 pasid=0x00007 address=0xfee00000 flags=0x0a00]";
    expect(read(line)).toMatchObject({
      type: "INVALID_DEVICE_REQUEST",
      cause: "blocked",
      iommu: "0000:00:00.2",
      device: { name: "0000:01:00.0" },
      substreamId: 7,
      address: 0xfee0_0000n,
    });
    const rmp =
      "vfio-pci 0000:01:00.0: AMD-Vi: Event logged [RMP_PAGE_FAULT vmg_tag=0x0000, gpa=0x1000, flags_rmp=0x0000, flags=0x0000]";
    expect(read(rmp)).toMatchObject({ type: "RMP_PAGE_FAULT", address: 0x1000n, device: { name: "0000:01:00.0" } });
  });

  it("is none when the driver's own command failed", () => {
    const line = "pci 0000:00:00.2: AMD-Vi: Event logged [ILLEGAL_COMMAND_ERROR address=0x1000]";
    expect(readFaults(line)).toMatchObject({ faults: [], notices: [{ kind: "iommu-error" }] });
  });

  it("is not all there were when the log overflowed or was limited", () => {
    const lines = ["AMD-Vi: IOMMU Event log restarting", "amd_iommu_report_page_fault: 12 callbacks suppressed"];
    expect(readFaults(lines).notices).toMatchObject([{ kind: "events-lost" }, { kind: "suppressed", count: 12 }]);
  });
});
