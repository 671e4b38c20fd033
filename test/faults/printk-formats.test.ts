import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { IommuFault } from "../../src/faults/fault.js";
import { readFaults } from "../../src/faults/fault-reader.js";
import { encodeEvent, rawLines } from "./support/event-log.js";

/** What logs put in front of a message; what in it `/dev/kmsg` writes in another way is the last. */
const wrappers: readonly ((message: string) => string)[] = [
  (message) => message,
  (message) => `[   12.345678] ${message}`,
  (message) => `<3>[   12.345678] ${message}`,
  (message) => `Nov 23 01:57:35 host kernel: ${message}`,
  (message) => `2026-11-23T01:57:35.123456+00:00 host kernel: [   12.345678] ${message.replaceAll("\t", "#011")}`,
  (message) => `3,1234,12345678,-;${message.replaceAll("\t", "\\x09")}`,
];
const wrapper = fc.constantFrom(...wrappers);

const hexOf = (value: number | bigint, digits = 0) => value.toString(16).padStart(digits, "0");
const address = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const pasid = fc.integer({ min: 0, max: 2 ** 20 - 1 });
const bdf = (id: number) => `${hexOf(id >> 8, 2)}:${hexOf((id >> 3) & 31, 2)}.${id & 7}`;
const pci = (domain: number, id: number) => `${hexOf(domain, 4)}:${bdf(id)}`;

const only = (lines: readonly string[]): IommuFault => {
  const { faults } = readFaults(lines);
  expect(faults).toHaveLength(1);
  return faults[0]!;
};

describe("messages made by the driver's own formats are read back", () => {
  it("of arm_smmu_dump_raw_event and arm_smmu_dump_event", () => {
    const record = fc.record({ streamId: u32, substreamId: pasid, inputAddress: address, read: fc.boolean() });
    const more = fc.record({
      id: fc.constantFrom(0x10, 0x11, 0x12, 0x13),
      instruction: fc.boolean(),
      stalled: fc.boolean(),
    });
    fc.assert(
      fc.property(record, more, wrapper, fc.boolean(), (fields, kind, wrap, isNew) => {
        const words = encodeEvent({ ...fields, ...kind, substreamValid: true, class: 2, privileged: true });
        const smmu = "arm-smmu-v3 arm-smmu-v3.1.auto:";
        const types = { 16: "F_TRANSLATION", 17: "F_ADDR_SIZE", 18: "F_ACCESS", 19: "F_PERMISSION" };
        const type = types[kind.id as keyof typeof types];
        const decoded = [
          `${smmu} event: ${type} client: 0000:02:00.0 sid: 0x${hexOf(fields.streamId)} ssid: 0x${hexOf(fields.substreamId)} iova: 0x${hexOf(fields.inputAddress)} ipa: 0x0`,
          `${smmu} priv ${kind.instruction ? "inst" : "data"} ${fields.read ? "read" : "write"} s1 "Input address caused fault"${kind.stalled ? " stall" : ""} stag: 0x0`,
        ];
        const lines = [...rawLines(words, "arm-smmu-v3.1.auto"), ...(isNew ? decoded : [])];
        expect(only(lines.map(wrap))).toMatchObject({
          format: "arm-smmu-v3",
          type,
          iommu: "arm-smmu-v3.1.auto",
          streamId: fields.streamId,
          substreamId: fields.substreamId,
          address: fields.inputAddress,
          access: fields.read ? "read" : "write",
          instruction: kind.instruction,
          stalled: kind.stalled,
          privileged: true,
          stage: 1,
          record: words,
        });
        // The decoded lines alone say the same, but for the record.
        if (isNew) {
          const { streamId, address: at, access, instruction, stalled } = only(decoded.map(wrap));
          const { read, inputAddress } = fields;
          expect({ streamId, at, access, instruction, stalled }).toEqual({
            streamId: fields.streamId,
            at: inputAddress,
            access: read ? "read" : "write",
            instruction: kind.instruction,
            stalled: kind.stalled,
          });
        }
      }),
    );
  });

  it("of arm_smmu_handle_ppr", () => {
    fc.assert(
      fc.property(u32, pasid, address, u16, fc.boolean(), wrapper, (sid, ssid, at, group, write, wrap) => {
        const smmu = "arm-smmu-v3 a.iommu:";
        const page = (at >> 12n) << 12n;
        const lines = [
          `${smmu} unexpected PRI request received:`,
          `${smmu} \tsid 0x${hexOf(sid, 8)}.0x${hexOf(ssid, 5)}: [${group}L] unprivileged R${write ? "W" : ""} access at iova 0x${hexOf(page, 16)}`,
        ];
        expect(only(lines.map(wrap))).toMatchObject({
          type: "PRI",
          streamId: sid,
          substreamId: ssid === 0 ? undefined : ssid,
          address: page,
          access: write ? "write" : "read",
          privileged: false,
        });
      }),
    );
  });

  it("of arm_smmu_print_context_fault_info and arm_smmu_global_fault", () => {
    fc.assert(
      fc.property(address, u16, fc.nat(127), fc.boolean(), wrapper, (at, sid, bank, write, wrap) => {
        const smmu = "arm-smmu 15000000.iommu:";
        const fsynr = write ? 0x10 : 0;
        const context = [
          `${smmu} Unhandled context fault: fsr=0x402, iova=0x${hexOf(at, 8)}, fsynr=0x${hexOf(fsynr)}, cbfrsynra=0x${hexOf(sid)}, cb=${bank}`,
          `${smmu} FSR    = 00000402 [Format=2 TF], SID=0x${hexOf(sid)}`,
          `${smmu} FSYNR0 = ${hexOf(fsynr, 8)} [S1CBNDX=0${write ? " WNR" : ""} PLVL=0]`,
        ];
        const access = write ? "write" : "read";
        const facts = { format: "arm-smmu", type: "TF", iommu: "15000000.iommu", streamId: sid, access, domain: bank };
        expect(only(context.map(wrap))).toMatchObject({ ...facts, address: at });
        const registers = `${smmu} \tGFSR 0x80000002, GFSYNR0 0x${hexOf(write ? 2 : 0, 8)}, GFSYNR1 0x${hexOf(sid, 8)}, GFSYNR2 0x00000000`;
        const blocked = `${smmu} Blocked unknown Stream ID 0x${hexOf(sid)}; boot with "arm-smmu.disable_bypass=0" to allow, but this may have security implications`;
        for (const first of [blocked, `${smmu} Unexpected global fault, this could be serious`]) {
          expect(only([first, registers].map(wrap))).toMatchObject({ type: "USF", streamId: sid, access });
        }
      }),
    );
  });

  it("of dmar_fault_do_one", () => {
    const reason = fc.constantFrom(
      ["05", "PTE Write access is not set"],
      ["85", "SM: No write permission for Write/AtomicOp request"],
    );
    fc.assert(
      fc.property(
        u16,
        u16,
        pasid,
        address,
        fc.boolean(),
        reason,
        wrapper,
        (segment, id, ssid, at, hasPasid, why, wrap) => {
          const page = (at >> 12n) << 12n;
          const who = hasPasid ? `PASID 0x${hexOf(ssid)}` : "NO_PASID";
          const line = `DMAR: [DMA Write ${who}] Request device [${pci(segment, id)}] fault addr 0x${hexOf(page)} [fault reason 0x${why[0]}] ${why[1]}`;
          expect(only([wrap(line)])).toMatchObject({
            type: `0x${why[0]}`,
            detail: why[1],
            device: { name: pci(segment, id), from: "log" },
            streamId: id,
            substreamId: hasPasid ? ssid : undefined,
            address: page,
            access: "write",
          });
          const interrupt = `DMAR: [INTR-REMAP] Request device [${pci(segment, id)}] fault index 0x${hexOf(at >> 48n)} [fault reason 0x22] Present field in the IRTE entry is clear`;
          expect(only([wrap(interrupt)])).toMatchObject({ cause: "interrupt", streamId: id, address: undefined });
        },
      ),
    );
  });

  it("of amd_iommu_report_page_fault and iommu_print_event", () => {
    const kind = fc.constantFrom("ILLEGAL_DEV_TABLE_ENTRY", "PAGE_TAB_HARDWARE_ERROR", "INVALID_DEVICE_REQUEST");
    fc.assert(
      fc.property(u16, u16, u16, pasid, address, kind, wrapper, (segment, id, domain, ssid, at, type, wrap) => {
        const name = pci(segment, id);
        const facts = `domain=0x${hexOf(domain, 4)} address=0x${hexOf(at)} flags=0x0020]`;
        const expected = {
          type: "IO_PAGE_FAULT",
          device: { name },
          streamId: id,
          domain,
          address: at,
          access: "write",
        };
        expect(only([wrap(`vfio-pci ${name}: AMD-Vi: Event logged [IO_PAGE_FAULT ${facts}`)])).toMatchObject(expected);
        expect(only([wrap(`AMD-Vi: Event logged [IO_PAGE_FAULT device=${name} ${facts}`)])).toMatchObject(expected);
        const event = `iommu ivhd1: AMD-Vi: Event logged [${type} device=${name} pasid=0x${hexOf(ssid, 5)} address=0x${hexOf(at)} flags=0x0000]`;
        expect(only([wrap(event)])).toMatchObject({
          type,
          iommu: "ivhd1",
          device: { name },
          substreamId: ssid === 0 ? undefined : ssid,
          address: at,
        });
      }),
    );
  });
});

it("messages that only look like faults are none", () => {
  const lines = [
    "DMAR: Dump dmar0 table entries for IOVA 0x1000",
    "AMD-Vi: DTE[0]: 6190000000000003",
    "iommu ivhd0: AMD-Vi: Control Reg : 0x80",
    "arm-smmu 5000000.iommu: soft iova-to-phys=0x0000000000000000",
    "arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00008305)",
  ];
  expect(readFaults(lines)).toEqual({ faults: [], notices: [] });
});
