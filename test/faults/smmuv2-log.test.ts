import { describe, expect, it } from "vitest";
import { readFaults } from "../../src/faults/fault-reader.js";

const SMMU = "arm-smmu 15000000.iommu:";
const CONTEXT = `${SMMU} Unhandled context fault: fsr=0x402, iova=0x100000000, fsynr=0x1f0011, cbfrsynra=0x3801, cb=19`;
const DECODED = [
  `${SMMU} FSR    = 00000402 [Format=2 TF], SID=0x3801`,
  `${SMMU} FSYNR0 = 001f0011 [S1CBNDX=31 WNR PLVL=1]`,
];

describe("a context fault of an SMMUv2", () => {
  it("is read from its first line, with or without those that decode it", () => {
    const { faults } = readFaults([CONTEXT, ...DECODED]);
    expect(faults).toEqual(readFaults(CONTEXT).faults);
    expect(faults).toMatchObject([
      {
        format: "arm-smmu",
        type: "TF",
        cause: "not-mapped",
        iommu: "15000000.iommu",
        streamId: 0x3801,
        device: { name: "0000:38:00.1", from: "stream" },
        address: 0x1_0000_0000n,
        access: "write",
        privileged: false,
        instruction: false,
        stalled: false,
        domain: 19,
      },
    ]);
  });

  it("has no StreamID in older kernels, and no status in the oldest", () => {
    const older = `${SMMU} Unhandled context fault: fsr=0x8, iova=0xfeed0000, fsynr=0x61, cb=0`;
    const oldest = `${SMMU} Unhandled context fault: iova=0x12345000, fsynr=0x203, cb=1`;
    expect(readFaults([older, oldest]).faults).toMatchObject([
      {
        type: "PF",
        cause: "not-permitted",
        streamId: undefined,
        device: undefined,
        privileged: true,
        instruction: true,
      },
      { type: "unknown", cause: "unknown", address: 0x1234_5000n, access: "read", stalled: undefined, domain: 1 },
    ]);
  });

  it.each([
    ["0x80000402", "TF", "not-mapped"],
    ["0x40000008", "PF", "not-permitted"],
    ["0x4", "AFF", "not-permitted"],
    ["0x80", "ASF", "address-size"],
    ["0x10", "EF", "table-fetch"],
    ["0x100", "UUT", "hardware"],
    ["0x20", "TLBMCF", "hardware"],
    ["0xa", "TF PF", "not-mapped"],
  ])("with the status %s is %s, %s", (fsr, type, cause) => {
    const [fault] = readFaults(CONTEXT.replace("0x402", fsr)).faults;
    expect(fault).toMatchObject({ type, cause, stalled: fsr.startsWith("0x4000") });
  });
});

describe("a global fault of an SMMUv2", () => {
  const registers = (gfsr: string) =>
    `${SMMU} \tGFSR ${gfsr}, GFSYNR0 0x00000002, GFSYNR1 0x00000042, GFSYNR2 0x00000000`;
  const blocked =
    `${SMMU} Blocked unknown Stream ID 0x42; boot with "arm-smmu.disable_bypass=0" to allow, ` +
    "but this may have security implications";

  it("names the stream that nobody described", () => {
    expect(readFaults([blocked, registers("0x80000002")]).faults).toMatchObject([
      { type: "USF", cause: "unknown-stream", streamId: 0x42, access: "write", line: 1 },
    ]);
    expect(readFaults([blocked]).faults).toMatchObject([
      { type: "USF", cause: "unknown-stream", streamId: 0x42, access: undefined },
    ]);
  });

  it("is read from its registers", () => {
    const unexpected = `${SMMU} Unexpected global fault, this could be serious`;
    const { faults, notices } = readFaults([unexpected, registers("0x00000004"), unexpected]);
    expect(faults).toMatchObject([{ type: "SMCF", cause: "configuration", streamId: 0x42 }]);
    expect(notices).toMatchObject([{ kind: "incomplete", line: 3 }]);
  });
});

it("tells how many messages the kernel left out", () => {
  expect(readFaults("arm_smmu_context_fault: 77 callbacks suppressed").notices).toMatchObject([
    { kind: "suppressed", count: 77 },
  ]);
});
