import { describe, expect, it } from "vitest";
import { hwInfo, IOMMU_GET_HW_INFO, IOMMU_HW_CAP } from "../../../src/abi/iommufd-hw-info.js";
import { hwInfoSmmuv3 } from "../../../src/abi/iommufd-smmuv3.js";
import { registers } from "../../../src/sim/hw/smmu/registers.js";
import { machineOneDescription } from "../../../src/sim/linux/machine-one.js";
import { outcome, PAGE } from "../program.js";
import { A, machine } from "./iommufd-program.js";

function asked(fields: Parameters<typeof hwInfo.encode>[0], options = {}) {
  const program = machine(options);
  const iommufd = program.iommufd();
  const { id } = program.bound(A, iommufd);
  const room = program.memory(PAGE);
  program.bytes(room, PAGE).fill(0xee);
  const bytes = hwInfo.encode({ dev_id: id, data_len: PAGE, data_uptr: room, ...fields });
  const answer = outcome(() => program.kernel.ioctl(iommufd, IOMMU_GET_HW_INFO, bytes));
  return { answer, info: hwInfo.decode(bytes), data: program.bytes(room, PAGE) };
}

describe("IOMMU_GET_HW_INFO", () => {
  it("tells an SMMU's ID registers, and clears the rest of the room", () => {
    const { answer, info, data } = asked({});
    expect([answer, info.out_data_type, info.data_len]).toEqual([0, 2, 40]);
    const { idr } = hwInfoSmmuv3.decode(data);
    expect(registers.IDR5.decode(idr[5]!)).toMatchObject({ GRAN4K: 1 });
    expect(registers.IDR0.decode(idr[0]!)).toMatchObject({ S1P: 1 });
    expect(data.subarray(40).every((byte) => byte === 0)).toBe(true);
  });

  it("fills as much room as there is, and says how much there could be", () => {
    const { info, data } = asked({ data_len: 12 });
    expect(info.data_len).toBe(40);
    expect(data[12]).toBe(0xee);
    expect(asked({ data_len: 0, data_uptr: 0 }).info.data_len).toBe(40);
  });

  it.each([
    ["a device that is none", { dev_id: 77 }, "ENOENT"],
    ["an unknown flag", { flags: 2 }, "EOPNOTSUPP"],
    ["a type that the driver has not got", { flags: 1, out_data_type: 1 }, "EOPNOTSUPP"],
    ["no room for what it says", { data_uptr: 0x10000n }, "EFAULT"],
  ])("refuses %s", (_, fields, expected) => {
    expect(asked(fields).answer).toBe(expected);
  });

  it("tells of one type that is asked for, since 6.17", () => {
    for (const out_data_type of [0, 2]) expect(asked({ flags: 1, out_data_type }).info.out_data_type).toBe(2);
    expect(asked({ flags: 0, out_data_type: 1 }).info.out_data_type).toBe(2);
    expect(asked({ flags: 1 }, { release: "6.16.0" }).answer).toBe("EOPNOTSUPP");
  });

  it("says what page tables and devices can do", () => {
    const capabilities = (options = {}) => asked({}, options).info.out_capabilities;
    const { DIRTY_TRACKING, PCI_ATS_NOT_SUPPORTED } = IOMMU_HW_CAP;
    expect(capabilities()).toBe(BigInt(PCI_ATS_NOT_SUPPORTED));
    expect(capabilities({ release: "6.18.0" })).toBe(0n);
    const { iommus } = machineOneDescription();
    const httu = iommus.map((iommu) => ({ ...iommu, httu: true }));
    expect(capabilities({ iommus: httu })).toBe(BigInt(PCI_ATS_NOT_SUPPORTED | DIRTY_TRACKING));
  });

  it("knows nothing to tell of an SMMU before 6.13", () => {
    expect(asked({}, { release: "6.12.0" }).info).toMatchObject({ out_data_type: 0, data_len: 0 });
  });
});
