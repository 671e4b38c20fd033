import { describe, expect, it } from "vitest";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { edus, proveDma } from "../conformance/dma-proof.js";
import { EDUS, leftOf, NOTHING, open, planOf, withIommufd } from "../support/edu-spaces.js";

const SMMU0 = "smmu3.0x000000000c000000";

describe("a kernel that attaches another SMMU's device without effect", () => {
  it.each(["5.10.223", "6.1.176", "6.12.107", "6.14.0", "6.14.11", "6.15.0-rc1", "6.15.2", "6.15.3", "7.3.4"])(
    "never gets it past auto: every device's DMA arrives, on Linux %s",
    async (release) => {
      for (const iommufd of [true, false]) {
        const kernel = machineOne({ release, iommufd });
        await using space = await open(kernel);
        await proveDma({ syscalls: kernel }, space, edus(space));
        const isBroken = /^6\.(14|15\.[0-2]\b)/.test(release);
        const isNew = Number.parseFloat(release) > 6.1 + 0.01;
        expect(space.strategy).toBe(isBroken ? "mirrored" : iommufd && isNew ? "iommufd" : "shared-container");
      }
    },
  );

  it.each(["6.14.0", "6.14.11", "6.15.0-rc1", "6.15.2"])("is said to by the plan on Linux %s", async (release) => {
    for (const iommufd of [true, false]) {
      const { plan } = await planOf(machineOne({ release, iommufd }));
      const shared = { strategy: "shared-container", chosen: false, reason: expect.stringContaining("block its DMA") };
      expect(plan).toMatchObject([{ strategy: "iommufd" }, shared, { strategy: "mirrored", chosen: true }]);
      expect(plan[1]?.reason).toContain(`Linux ${release}`);
      if (iommufd) expect(plan[0]?.reason).toMatch(/Linux .* says that 0000:22:00\.0 joined .*, and blocks its DMA/);
    }
  });

  it.each(["6.12.107", "6.18.0-vendor", "7.3.4"])(
    "gives itself away by an iommufd's answers whatever release it says it is, %s, and then containers are not believed either",
    async (release) => {
      const kernel = withIommufd({ release, bugs: { attachesNowhere: true } });
      {
        await using space = await open(kernel);
        expect(space.strategy).toBe("mirrored");
        for (const { reason } of space.plan.slice(0, 2)) expect(reason).toContain(`Linux ${release}`);
        await proveDma({ syscalls: kernel }, space, edus(space));
      }
      await expect(open(kernel, "shared-container")).rejects.toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED" });
      expect(leftOf(kernel)).toEqual(NOTHING);
    },
  );

  it.each(["iommufd", "single-domain"] as const)(
    "is refused with %s, at once and at a hot attach",
    async (strategy) => {
      const kernel = withIommufd({ bugs: { attachesNowhere: true } });
      const refusal = { code: "ERR_IOSPAN_ATTACH_REFUSED", device: EDUS[1], hint: expect.stringContaining("mirrored") };
      await expect(open(kernel, strategy)).rejects.toMatchObject(refusal);
      await using space = await IoAddressSpace.open({ syscalls: kernel }, [EDUS[0]], { strategy });
      using _buffer = space.allocate(4096);
      await expect(space.attach(EDUS[1])).rejects.toMatchObject(refusal);
      expect(space.audit()).toMatchObject({ consistent: true, checked: 1 });
      await proveDma({ syscalls: kernel }, space, edus(space));
      // The device is free again.
      await using other = await IoAddressSpace.open({ syscalls: kernel }, [EDUS[1]], { strategy });
      await proveDma({ syscalls: kernel }, other, edus(other));
    },
  );

  it("is not suspected where IOMMUs of another kind share a page table", async () => {
    const rename = (name = "") => name.replace("smmu3.0x000000000c0", "dmar");
    const { iommus, devices } = machineOneDescription();
    const kernel = withIommufd({
      bugs: { attachesNowhere: true },
      iommus: iommus.map((each) => ({ ...each, name: rename(each.name) })),
      devices: devices.map((each) => ({ ...each, iommu: rename(each.iommu) })),
    });
    const { strategy, plan } = await planOf(kernel);
    expect([strategy, plan[0]?.chosen]).toEqual(["iommufd", true]);
  });

  it("has nothing to attach wrongly where all are behind one SMMU", async () => {
    const devices = machineOneDescription().devices.map((device) => ({ ...device, iommu: SMMU0 }));
    for (const iommufd of [true, false]) {
      const kernel = machineOne({ release: "6.14.0", iommufd, devices });
      await using space = await open(kernel);
      expect(space.strategy).toBe(iommufd ? "iommufd" : "shared-container");
      await proveDma({ syscalls: kernel }, space, edus(space));
    }
  });
});
