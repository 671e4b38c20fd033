import { describe, expect, it } from "vitest";
import { explainFault } from "../../src/faults/explain-fault.js";
import { blankFault, faultCauses, type IommuFault } from "../../src/faults/fault.js";
import { smmuv3Events } from "../../src/faults/smmuv3-event.js";
import { iova } from "../../src/iova.js";

const blank = blankFault("arm-smmu-v3", { time: undefined, number: 1 });
const fault = (facts: Partial<IommuFault>): IommuFault => ({ ...blank, ...facts });
const DEVICE = { name: "0000:02:00.0", from: "log" } as const;

describe("the explanation of a fault", () => {
  it.each<[Partial<IommuFault>, string]>([
    [
      { device: DEVICE, cause: "not-mapped", access: "write", address: iova(0x60000124) },
      "0000:02:00.0 wrote to 0x60000124: nothing is mapped there",
    ],
    [
      { streamId: 0x200, device: { name: "0000:02:00.0", from: "stream" }, cause: "not-permitted", access: "read" },
      "StreamID 0x200 (0000:02:00.0, if that is its PCI address) read memory: the mapping there does not allow it",
    ],
    [
      { iommu: "a.iommu", cause: "hardware" },
      "a device behind a.iommu accessed memory: the IOMMU or the way to it failed",
    ],
    [{ cause: "unknown", type: "0xfe", detail: "Unknown" }, "a device accessed memory: Unknown"],
    [{ streamId: 0x42, cause: "unknown-stream" }, "StreamID 0x42 accessed memory: the IOMMU does not know the device"],
    [{ device: DEVICE, cause: "interrupt" }, "0000:02:00.0 sent an interrupt: the interrupt was refused"],
    [
      { device: DEVICE, cause: "not-permitted", access: "read", instruction: true, address: iova(16) },
      "0000:02:00.0 fetched instructions from 0x10: the mapping there does not allow it",
    ],
    [
      { format: "dmar", device: DEVICE, cause: "not-mapped", access: "read", address: iova(4096), addressUnit: 4096 },
      "0000:02:00.0 read the page 0x1000: nothing is mapped there for that",
    ],
  ])("%o begins with who did what", (facts, summary) => {
    expect(explainFault(fault(facts)).summary).toBe(summary);
  });

  it.each([...smmuv3Events.values()].map(({ name, cause }) => [name, cause] as const))(
    "of %s says what it means and what to do",
    (type, cause) => {
      const { meaning, advice, place } = explainFault(fault({ type, cause }));
      expect(meaning).toMatch(/^[A-Z].*\.$/);
      expect(advice).toMatch(/^[A-Z].*\.$/);
      expect(place).toBeUndefined();
    },
  );

  it("has words for every cause, and different ones", () => {
    const meanings = faultCauses.map((cause) => explainFault(fault({ cause })).meaning);
    expect(new Set(meanings).size).toBe(faultCauses.length);
  });

  it("tells a read-only mapping from a write-only one, and data from instructions", () => {
    const refused = (facts: Partial<IommuFault>) =>
      explainFault(fault({ cause: "not-permitted", type: "F_PERMISSION", ...facts }));
    expect(refused({ access: "write" }).advice).toContain("VFIO_DMA_MAP_FLAG_WRITE");
    expect(refused({ access: "read" }).meaning).toContain("mapped to be written only");
    expect(refused({ access: "read", instruction: true }).meaning).toContain("instructions");
    expect(refused({ type: "PF", access: "write" }).meaning).toContain("mapped to be read only");
  });

  it("knows numbers of Intel's and names of several bits", () => {
    expect(explainFault(fault({ format: "dmar", type: "0x05", cause: "not-mapped" })).meaning).toContain("Intel");
    expect(explainFault(fault({ format: "arm-smmu", type: "USF PF", cause: "unknown-stream" })).meaning).toContain(
      "No entry",
    );
    expect(explainFault(fault({ format: "amd-vi", type: "RMP_HW_ERROR", cause: "hardware" })).advice).toContain(
      "kernel",
    );
  });
});
