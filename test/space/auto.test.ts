import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import type { StrategyName } from "../../src/space/strategies/strategy.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Call } from "../../src/syscalls/intercepted.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";

const EDUS = ["0000:02:00.0", "0000:22:00.0"];
const setContainer = (call: Call) => call.ioctl?.name === "VFIO_GROUP_SET_CONTAINER";

const planOf = async (syscalls: Syscalls, strategy?: StrategyName | "auto") => {
  await using space = await IoAddressSpace.open({ syscalls }, EDUS, { strategy });
  return { strategy: space.strategy, plan: space.plan };
};

describe("auto", () => {
  it.each(["5.10.223", "6.1.176", "6.12.107", "6.13.0", "6.15.3", "6.16.0", "7.3.4"])(
    "takes one container for all on Linux %s",
    async (release) => {
      const { strategy, plan } = await planOf(machineOne({ release }));
      expect(strategy).toBe("shared-container");
      expect(plan).toEqual([{ strategy, chosen: true, reason: expect.stringContaining("pins memory once") }]);
    },
  );

  it.each(["6.14.0", "6.14.11", "6.15.0-rc1", "6.15.2"])(
    "mirrors on Linux %s, where a second SMMU's device would be attached without effect",
    async (release) => {
      const { strategy, plan } = await planOf(machineOne({ release }));
      expect(strategy).toBe("mirrored");
      expect(plan).toMatchObject([
        { strategy: "shared-container", chosen: false, reason: expect.stringContaining(`Linux ${release}`) },
        { strategy: "mirrored", chosen: true },
      ]);
    },
  );

  it("has nothing against one container where there is only one SMMU", async () => {
    await using space = await IoAddressSpace.open(machineOne({ release: "6.14.0" }), ["0000:02:00.0"]);
    expect(space.strategy).toBe("shared-container");
  });

  it("mirrors where the kernel refuses the second group, and leaves nothing of the attempt", async () => {
    const kernel = machineOne();
    const syscalls = faulty(kernel, { match: setContainer, nth: 2, errno: errno.EINVAL });
    const { strategy, plan } = await planOf(syscalls, "auto");
    expect(strategy).toBe("mirrored");
    expect(plan).toMatchObject([
      { strategy: "shared-container", chosen: false, reason: expect.stringContaining("EINVAL") },
      { strategy: "mirrored", chosen: true },
    ]);
    expect(kernel.openFds).toEqual([]);
    expect(kernel.containers).toEqual([]);
  });

  it("does not try another strategy when no strategy is to blame", async () => {
    const kernel = machineOne({ eduDriver: "none" });
    await expect(planOf(kernel)).rejects.toMatchObject({ code: "ERR_IOSPAN_WRONG_DRIVER" });
  });

  it("passes on why the last one was refused", async () => {
    const kernel = machineOne();
    const refuseAll: Syscalls = faulty(kernel, { match: setContainer, nth: 1, errno: errno.EINVAL });
    const twice = faulty(refuseAll, { match: setContainer, nth: 2, errno: errno.EINVAL });
    await expect(planOf(twice)).rejects.toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", errno: errno.EINVAL });
    expect(kernel.openFds).toEqual([]);
  });
});

describe("a strategy by name", () => {
  it("is taken as asked for", async () => {
    const { strategy, plan } = await planOf(machineOne(), "mirrored");
    expect(strategy).toBe("mirrored");
    expect(plan).toEqual([{ strategy, chosen: true, reason: "asked for" }]);
  });

  it("is refused where it would silently block a second SMMU's DMA, at once or at a hot attach", async () => {
    const kernel = machineOne({ release: "6.14.3" });
    const refusal = { code: "ERR_IOSPAN_ATTACH_REFUSED", device: EDUS[1], hint: expect.stringContaining("mirrored") };
    await expect(planOf(kernel, "shared-container")).rejects.toMatchObject(refusal);
    await using space = await IoAddressSpace.open(kernel, ["0000:02:00.0"], { strategy: "shared-container" });
    using _buffer = space.allocate(4096);
    await expect(space.attach("0000:22:00.0")).rejects.toMatchObject(refusal);
    expect(space.audit()).toMatchObject({ consistent: true, checked: 1 });
  });

  it("has to exist", async () => {
    // @ts-expect-error what a caller without types may pass
    await expect(planOf(machineOne(), "mirror")).rejects.toMatchObject({
      code: "ERR_IOSPAN_INVALID_ARGUMENT",
      hint: expect.stringContaining("mirrored"),
    });
  });
});
