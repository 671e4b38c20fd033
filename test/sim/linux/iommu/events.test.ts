import { describe, expect, it } from "vitest";
import { contextDescriptor } from "../../../../src/sim/hw/smmu/context-descriptor.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { streamTableEntry, streamTableLink } from "../../../../src/sim/hw/smmu/stream-table-entry.js";
import type { SmmuDomain } from "../../../../src/sim/linux/iommu/smmu-domain.js";
import { READ_WRITE, type RigOptions, SmmuRig } from "./smmu-rig.js";

const SID = 0x100;
const SMMU = "arm-smmu-v3 arm-smmu-v3.0.auto: ";
const NOWHERE = 0x2_0000_0000;
const RAM = 2 ** 34;

function setUp(options: RigOptions = {}) {
  const banks = [{ start: 0x4000_0000, size: 2 ** 24 }];
  const rig = new SmmuRig({ banks, ...options });
  return { rig, ...rig.attached(SID) };
}

/** The log without the SMMU's name. */
const lines = ({ log }: SmmuRig) =>
  log.lines.map((line) => (line.startsWith(SMMU) ? line.slice(SMMU.length) : `not the SMMU's: ${line}`));

/** Where a StreamID's entry lies, and the link to its table. */
function streamEntry(rig: SmmuRig, streamId: number): { readonly link: number; readonly entry: number } {
  const { ADDR } = registers.STRTAB_BASE.decode(rig.hardware.read64(registers.STRTAB_BASE.offset));
  const link = ADDR + (streamId >> 8) * streamTableLink.size;
  const { L2Ptr } = streamTableLink.decode([rig.physical.read64(link)!]);
  return { link, entry: L2Ptr + (streamId & 0xff) * streamTableEntry.size };
}

function contextEntry(rig: SmmuRig, streamId: number): number {
  const { entry } = streamEntry(rig, streamId);
  const { S1ContextPtr } = streamTableEntry.decode([rig.physical.read64(entry)!, 0n, 0n, 0n, 0n, 0n, 0n, 0n]);
  return S1ContextPtr;
}

/** Changes bits of a word in memory, as a stray write would. */
function flip(rig: SmmuRig, address: number, bits: bigint): void {
  rig.physical.write64(address, rig.physical.read64(address)! ^ bits);
}

/** Where the last-level entry of an address below 2 MiB lies, 4 KiB granule. */
function leafEntry(rig: SmmuRig, domain: SmmuDomain, iova: number): number {
  let table = domain.tableAddress;
  for (let level = 0; level < 3; level++) table = Number(rig.physical.read64(table)! & 0xffff_ffff_f000n);
  return table + (iova / 4096) * 8;
}

describe("the log of a fault", () => {
  it("is byte for byte as on Linux 7.3: sid 0x100 reads at 0x60000000", () => {
    const { rig } = setUp();
    expect(rig.hardware.translate(SID, 0x6000_0000, false)).toBe(-1);
    expect(rig.log.lines).toEqual([
      "arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received:",
      "arm-smmu-v3 arm-smmu-v3.0.auto: \t0x0000010000000010",
      "arm-smmu-v3 arm-smmu-v3.0.auto: \t0x0000020800000000",
      "arm-smmu-v3 arm-smmu-v3.0.auto: \t0x0000000060000000",
      "arm-smmu-v3 arm-smmu-v3.0.auto: \t0x0000000000000000",
      "arm-smmu-v3 arm-smmu-v3.0.auto: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0x60000000 ipa: 0x0",
      'arm-smmu-v3 arm-smmu-v3.0.auto: unpriv data read s1 "Input address caused fault" stag: 0x0',
    ]);
  });

  it("says write, and in stage 2 the intermediate address", () => {
    const { rig } = setUp({ iommu: { stage: 2, device: "c000000.smmuv3" } });
    rig.hardware.translate(SID, 0x6000_0123, true);
    expect(rig.log.lines).toEqual([
      "arm-smmu-v3 c000000.smmuv3: event 0x10 received:",
      "arm-smmu-v3 c000000.smmuv3: \t0x0000010000000010",
      "arm-smmu-v3 c000000.smmuv3: \t0x0000028000000000",
      "arm-smmu-v3 c000000.smmuv3: \t0x0000000060000123",
      "arm-smmu-v3 c000000.smmuv3: \t0x0000000060000000",
      "arm-smmu-v3 c000000.smmuv3: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0x60000123 ipa: 0x60000000",
      'arm-smmu-v3 c000000.smmuv3: unpriv data write s2 "Input address caused fault" stag: 0x0',
    ]);
  });

  it.each(["5.10.223", "6.1.176", "6.12.107"])("has no words on %s", (release) => {
    const { rig } = setUp({ release });
    rig.hardware.translate(SID, 0x6000_0000, false);
    expect(lines(rig)).toEqual([
      "event 0x10 received:",
      "\t0x0000010000000010",
      "\t0x0000020800000000",
      "\t0x0000000060000000",
      "\t0x0000000000000000",
    ]);
  });

  it("of an access that is not allowed is F_PERMISSION", () => {
    const { rig, domain } = setUp();
    domain.map(0x1000, RAM, 4096, { read: true, write: false });
    rig.hardware.translate(SID, 0x1008, true);
    expect(lines(rig)).toContain("event 0x13 received:");
    expect(lines(rig).slice(-2)).toEqual([
      "event: F_PERMISSION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0x1008 ipa: 0x0",
      'unpriv data write s1 "Input address caused fault" stag: 0x0',
    ]);
  });

  it.each([
    ["F_ACCESS", "0x12", 2n ** 10n],
    ["F_ADDR_SIZE", "0x11", 2n ** 47n],
  ])("is %s after a stray write to a page table", (name, id, bits) => {
    const { rig, domain } = setUp();
    domain.map(0x1000, RAM, 4096, READ_WRITE);
    flip(rig, leafEntry(rig, domain as SmmuDomain, 0x1000), bits);
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig)[0]).toBe(`event ${id} received:`);
    expect(lines(rig).at(-2)).toMatch(`event: ${name} client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0x1000`);
  });
});

describe("the log of a broken configuration", () => {
  it("C_BAD_STREAMID: of a StreamID that has no entry", () => {
    const { rig } = setUp();
    rig.hardware.translate(0x7700, 0x1000, false);
    expect(lines(rig)[0]).toBe("event 0x02 received:");
    expect(lines(rig).at(-1)).toBe("event: C_BAD_STREAMID client: (unassigned sid) sid: 0x7700 ssid: 0x0");
  });

  it("nothing: of a StreamID whose entry nobody asked for", () => {
    const { rig } = setUp();
    expect(rig.hardware.translate(SID + 1, 0x1000, false)).toBe(-1);
    expect(rig.log.lines).toEqual([]);
  });

  it("F_STE_FETCH: where the table is not in memory", () => {
    const { rig } = setUp();
    const [link = 0n] = streamTableLink.encode({ Span: 9, L2Ptr: NOWHERE });
    rig.physical.write64(streamEntry(rig, SID).link, link);
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig)[0]).toBe("event 0x03 received:");
    expect(lines(rig).at(-1)).toBe(
      "event: F_STE_FETCH client: 0000:01:00.0 sid: 0x100 ssid: 0x0 fetch_addr: 0x200000000",
    );
  });

  it("C_BAD_STE: of an entry that is not valid", () => {
    const { rig } = setUp();
    flip(rig, streamEntry(rig, SID).entry, 1n);
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig)[0]).toBe("event 0x04 received:");
    expect(lines(rig).at(-1)).toBe("event: C_BAD_STE client: 0000:01:00.0 sid: 0x100 ssid: 0x0");
  });

  it("C_BAD_CD: of a context that is not valid", () => {
    const { rig } = setUp();
    flip(rig, contextEntry(rig, SID), 2n ** BigInt(contextDescriptor.fields.V.low));
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig)[0]).toBe("event 0x0a received:");
    expect(lines(rig).at(-1)).toBe("event: C_BAD_CD client: 0000:01:00.0 sid: 0x100 ssid: 0x0");
  });

  it("F_CD_FETCH: where the context is not in memory", () => {
    const { rig } = setUp();
    const { entry } = streamEntry(rig, SID);
    flip(rig, entry, BigInt(contextEntry(rig, SID)) ^ BigInt(NOWHERE));
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig)[0]).toBe("event 0x09 received:");
    expect(lines(rig).at(-1)).toBe(
      "event: F_CD_FETCH client: 0000:01:00.0 sid: 0x100 ssid: 0x0 fetch_addr: 0x200000000",
    );
  });

  it("UNKNOWN: what the driver has no name for, such as a page table that is not in memory", () => {
    const { rig, domain } = setUp();
    rig.physical.write64((domain as SmmuDomain).tableAddress, BigInt(NOWHERE) | 3n);
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig)[0]).toBe("event 0x0b received:");
    expect(lines(rig).at(-1)).toBe("event: UNKNOWN client: 0000:01:00.0 sid: 0x100 ssid: 0x0");
  });
});

describe("many events", () => {
  it("are read in order, however often the queue goes round", () => {
    const { rig } = setUp();
    for (let page = 1; page <= 300; page++) {
      rig.clock.advance(6000);
      rig.hardware.translate(SID, page * 4096, false);
    }
    const addresses = lines(rig).filter((line) => line.startsWith("event: "));
    expect(addresses).toHaveLength(300);
    expect(addresses.at(-1)).toMatch(/iova: 0x12c000 /);
    expect(rig.hardware.counters.lostEvents).toBe(0);
  });

  it("before the kernel looks: what did not fit is lost, and said so once", () => {
    const { rig } = setUp();
    rig.held = [];
    for (let page = 1; page <= 130; page++) rig.hardware.translate(SID, page * 4096, false);
    expect(rig.hardware.counters.lostEvents).toBe(2);
    rig.handleInterrupts();
    expect(lines(rig)[0]).toBe("EVTQ overflow detected -- events lost");
    expect(lines(rig).filter((line) => line.startsWith("event: "))).toHaveLength(10);
    rig.clock.advance(6000);
    rig.hardware.translate(SID, 0x1000, false);
    expect(lines(rig).filter((line) => line.startsWith("EVTQ"))).toHaveLength(1);
    expect(lines(rig).filter((line) => line.startsWith("event: "))).toHaveLength(11);
  });
});
