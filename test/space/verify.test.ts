import { describe, expect, it } from "vitest";
import { Edu } from "../../examples/edu/edu.js";
import { errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { type MachineOneOptions, machineOne } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace, type OpenOptions } from "../../src/space/io-address-space.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { SyscallError, type Syscalls } from "../../src/syscalls/syscalls.js";
import { errorFrom } from "../support/errors.js";

const EDUS = ["0000:02:00.0", "0000:22:00.0"];

/** Every device copies a page, from memory and back to memory. */
async function everyDeviceCopies(space: IoAddressSpace): Promise<void> {
  for (const name of space.interfaces) {
    using source = space.allocate(4096);
    using target = space.allocate(4096);
    source.bytes.fill(0xa5);
    await new Edu(space.interface(name)).copy(source.iova, target.iova, 4096);
    if (target.bytes.some((byte) => byte !== 0xa5)) throw new Error(`${name} does not reach memory`);
  }
}

/** A vendor's kernel whose version says nothing of the regression it has. */
function inDisguise(options: MachineOneOptions = {}): Syscalls & { readonly kernel: ReturnType<typeof machineOne> } {
  const kernel = machineOne({ release: "6.14.0", ...options });
  const disguised = intercepted(kernel, (call, proceed) =>
    call.path === "/proc/sys/kernel/osrelease" ? ("5.99.0-vendor\n" as ReturnType<typeof proceed>) : proceed(),
  );
  return Object.assign(disguised, { kernel });
}

const open = (syscalls: Syscalls, options: OpenOptions) => IoAddressSpace.open({ syscalls }, EDUS, options);

describe("a proof by the caller", () => {
  it("is asked for when all devices are attached, and leaves the space as it found it", async () => {
    const kernel = machineOne();
    const seen: string[][] = [];
    await using space = await open(kernel, {
      verify: async (each) => {
        seen.push([...each.interfaces]);
        await everyDeviceCopies(each);
      },
    });
    expect(seen).toEqual([EDUS]);
    expect(space.strategy).toBe("shared-container");
    expect(space.mappings).toEqual([]);
  });

  it("may keep what it mapped", async () => {
    await using space = await open(machineOne(), {
      verify: (each) => {
        each.allocate(4096);
      },
    });
    expect(space.mappings).toHaveLength(1);
  });

  it("makes auto pass over a strategy that attaches a device without effect, whatever the version says", async () => {
    const syscalls = inDisguise();
    await using trusting = await open(syscalls, {});
    expect(trusting.strategy).toBe("shared-container");
    await expect(everyDeviceCopies(trusting)).rejects.toThrow(`${EDUS[1]} does not reach memory`);
    await trusting.close();
    await using space = await open(syscalls, { verify: everyDeviceCopies });
    expect(space.strategy).toBe("mirrored");
    expect(space.plan).toMatchObject([
      { strategy: "iommufd", chosen: false },
      {
        strategy: "shared-container",
        chosen: false,
        reason: expect.stringContaining(`${EDUS[1]} does not reach memory`),
      },
      { strategy: "mirrored", chosen: true },
    ]);
    await everyDeviceCopies(space);
  });

  it("finds a kernel's bug of its own", async () => {
    const kernel = machineOne({ bugs: { attachesNowhere: true } });
    await using space = await open(kernel, { verify: everyDeviceCopies });
    expect(space.plan.map(({ strategy, chosen }) => [strategy, chosen])).toEqual([
      ["iommufd", false],
      ["shared-container", false],
      ["mirrored", true],
    ]);
  });

  it.each(["mirrored", "shared-container", "iommufd"] as const)(
    "is an error with a strategy by name: %s",
    async (strategy) => {
      const bugs =
        strategy === "shared-container" ? { attachesNowhere: true } : { mapSkips: "smmu3.0x000000000c020000" };
      const kernel = machineOne({ iommufd: true, bugs });
      const error = await errorFrom(open(kernel, { strategy, verify: everyDeviceCopies }));
      expect(error.code).toBe("ERR_IOSPAN_VERIFY_FAILED");
      expect(error.hint.includes("mirrored")).toBe(strategy !== "mirrored");
      expect(error.message).toContain(`"${strategy}"`);
      expect(error.cause).toMatchObject({ message: `${EDUS[1]} does not reach memory` });
      expect([kernel.openFds, kernel.containers, kernel.iommufds, kernel.pinnedPages]).toEqual([[], [], [], 0]);
    },
  );

  it("is an error when no strategy passes, and nothing is left open", async () => {
    const kernel = machineOne();
    const cause = new IospanError("ERR_IOSPAN_BUSY", "not now", { device: EDUS[0], iommu: "smmu", hint: "later" });
    const verify = () => {
      throw cause;
    };
    const error = await errorFrom(open(kernel, { verify }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VERIFY_FAILED", device: EDUS[0], iommu: "smmu", cause });
    expect(error.message).toContain('"mirrored"');
    expect([kernel.openFds, kernel.containers]).toEqual([[], []]);
  });

  it("keeps whatever was thrown", async () => {
    const error = await errorFrom(
      open(machineOne(), {
        strategy: "mirrored",
        verify: () => Promise.reject("out of luck"),
      }),
    );
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VERIFY_FAILED", cause: "out of luck" });
    expect(error.message).toContain("out of luck");
  });

  it("must be a function, and no device is touched before that is known", async () => {
    const kernel = machineOne();
    const verify = 5 as unknown as () => void;
    expect(await errorFrom(open(kernel, { verify }))).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
    expect(kernel.log).toEqual([]);
  });

  it("must leave the space open, whatever the strategy", async () => {
    const kernel = machineOne();
    let asked = 0;
    const verify = (space: IoAddressSpace) => {
      asked += 1;
      return space.close();
    };
    expect(await errorFrom(open(kernel, { verify }))).toMatchObject({ code: "ERR_IOSPAN_CLOSED" });
    expect([asked, kernel.openFds]).toEqual([1, []]);
  });

  it("is not passed by a space that broke meanwhile", async () => {
    const kernel = machineOne();
    let refusing = false;
    let unmaps = 0;
    // The second container keeps what it has, and the first does not take it back.
    const syscalls = intercepted(kernel, (call, proceed) => {
      const name = call.ioctl?.name ?? "";
      const stuck = name === "VFIO_IOMMU_UNMAP_DMA" && refusing && ++unmaps > 1;
      if (stuck || (name === "VFIO_IOMMU_MAP_DMA" && refusing)) throw new SyscallError(name, errno.EIO, "EIO");
      return proceed();
    });
    const verify = (space: IoAddressSpace) => {
      const buffer = space.allocate(4096);
      refusing = true;
      expect(() => buffer.free()).toThrow();
      refusing = false;
      expect(space.broken).toBeDefined();
    };
    const error = await errorFrom(open(syscalls, { strategy: "mirrored", verify }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VERIFY_FAILED", cause: { code: "ERR_IOSPAN_INCONSISTENT" } });
    expect(kernel.openFds).toEqual([]);
  });

  it("tells of every strategy that did not pass, and does not point to the one that was last", async () => {
    const verify = (space: IoAddressSpace) => Promise.reject(new Error(`no DMA with ${space.strategy}`));
    const error = await errorFrom(open(machineOne(), { verify }));
    for (const part of ["no DMA with mirrored", "no DMA with shared-container"]) expect(error.message).toContain(part);
    expect(error.hint).not.toContain("mirrored");
  });
});
