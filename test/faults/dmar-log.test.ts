import { describe, expect, it } from "vitest";
import { readFaults } from "../../src/faults/fault-reader.js";

const WRITE =
  "DMAR: [DMA Write NO_PASID] Request device [0000:00:02.0] fault addr 0x7fa5d000 [fault reason 0x05] PTE Write access is not set";

describe("a fault of Intel's IOMMU", () => {
  it("has its device, its page and its reason", () => {
    expect(readFaults(WRITE).faults).toMatchObject([
      {
        format: "dmar",
        type: "0x05",
        cause: "not-mapped",
        detail: "PTE Write access is not set",
        device: { name: "0000:00:02.0", from: "log" },
        streamId: 0x10,
        substreamId: undefined,
        address: 0x7fa5_d000n,
        addressUnit: 4096,
        access: "write",
        iommu: undefined,
      },
    ]);
  });

  it.each([
    [
      "DMAR: [DMA Read PASID 0x7] Request device [0001:81:1f.7] fault addr 0x1000 [fault reason 0x86] SM: No read permission for Read/AtomicOp request",
    ],
    [
      "DMAR: [DMA Read] Request device [81:1f.7] PASID 7 fault addr 1000 [fault reason 134] SM: No read permission for Read/AtomicOp request",
    ],
  ])("may have a PASID: %s", (line) => {
    expect(readFaults(line).faults).toMatchObject([
      { type: "0x86", cause: "not-permitted", substreamId: 7, address: 0x1000n, access: "read", streamId: 0x81ff },
    ]);
  });

  it.each([
    [
      "DMAR: [DMA Read] Request device [00:02.0] PASID ffffffff fault addr bdf74000 [fault reason 06] PTE Read access is not set",
    ],
    ["DMAR: [DMA Read] Request device [00:02.0] fault addr bdf74000 [fault reason 06] PTE Read access is not set"],
    [
      "dmar: DMAR:[DMA Read] Request device [00:02.0] fault addr bdf74000 \nDMAR:[fault reason 06] PTE Read access is not set",
    ],
  ])("is the same in older kernels: %s", (text) => {
    expect(readFaults(text).faults).toMatchObject([
      {
        type: "0x06",
        detail: "PTE Read access is not set",
        device: { name: "0000:00:02.0" },
        substreamId: undefined,
        address: 0xbdf7_4000n,
        line: 1,
      },
    ]);
  });

  it.each([
    ["0x02", "unknown-stream"],
    ["0x04", "address-size"],
    ["0x0c", "configuration"],
    ["0x0d", "blocked"],
    ["0x58", "table-fetch"],
    ["0x59", "configuration"],
    ["0x71", "not-mapped"],
    ["0x85", "not-permitted"],
    ["0xfe", "unknown"],
  ])("with the reason %s is %s", (reason, cause) => {
    expect(readFaults(WRITE.replace("0x05", reason)).faults).toMatchObject([{ type: reason, cause }]);
  });

  it.each([
    [
      "DMAR: [INTR-REMAP] Request device [0000:f0:1f.7] fault index 0x24 [fault reason 0x26] Blocked an interrupt request due to source-id verification failure",
    ],
    [
      "DMAR: [INTR-REMAP] Request device [f0:1f.7] fault index 24 [fault reason 38] Blocked an interrupt request due to source-id verification failure",
    ],
    [
      "INTR-REMAP: Request device [[f0:1f.7] fault index 24\nINTR-REMAP:[fault reason 38] Blocked an interrupt request due to source-id verification failure",
    ],
  ])("may be an interrupt: %s", (text) => {
    expect(readFaults(text).faults).toMatchObject([
      {
        type: "0x26",
        cause: "interrupt",
        detail: "Blocked an interrupt request due to source-id verification failure, interrupt index 36",
        address: undefined,
        device: { name: "0000:f0:1f.7" },
      },
    ]);
  });

  it("may lack its reason at the end of the log", () => {
    const half = "DMAR:[DMA Write] Request device [02:00.0] fault addr ff000 ";
    expect(readFaults(half).faults).toMatchObject([{ type: "unknown", cause: "unknown", access: "write" }]);
  });

  it("is not all there were when the status says so", () => {
    expect(readFaults(["DMAR: DRHD: handling fault status reg 2", WRITE]).notices).toEqual([]);
    expect(readFaults("DMAR: DRHD: handling fault status reg 3").notices).toMatchObject([{ kind: "events-lost" }]);
    expect(readFaults("dmar_fault: 1500 callbacks suppressed").notices).toMatchObject([{ count: 1500 }]);
  });

  it("is not what the driver says when it starts", () => {
    expect(readFaults("DMAR: IOMMU enabled\nDMAR: DRHD base: 0x000000fed90000 flags: 0x0")).toEqual({
      faults: [],
      notices: [],
    });
  });
});
