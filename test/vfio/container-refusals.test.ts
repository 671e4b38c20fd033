import { describe, expect, it } from "vitest";
import { iova } from "../../src/iova.js";
import { shortUnmap } from "../../src/vfio/container-refusals.js";

describe("shortUnmap", () => {
  it("says how much was missing, and whom it is about", () => {
    const error = shortUnmap(iova(0x1000), 8192, 4096, "smmu0", "0000:02:00.0");
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_SHORT", iommu: "smmu0", device: "0000:02:00.0" });
    expect(error.message).toBe("only 4096 of 8192 bytes at IOVA 0x1000 were mapped behind smmu0");
    expect(shortUnmap(iova(0), 2, 1, "smmu0").device).toBeUndefined();
  });
});
