import { setImmediate } from "node:timers/promises";
import { bindToVfio, IoAddressSpace, type Mapping } from "iospan";
import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import type { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { simulatedRig } from "../conformance/simulated-rig.js";
import { errorFrom } from "../support/errors.js";

const [USER, LATER, OWNER] = ["0000:02:00.0", "0000:21:00.0", "0000:22:00.0"] as const;
const PAGE = 4096;
const CALLS = {
  mirrored: { map: "VFIO_IOMMU_MAP_DMA", unmap: "VFIO_IOMMU_UNMAP_DMA", open: "VFIO_GROUP_GET_DEVICE_FD" },
  iommufd: { map: "IOMMU_IOAS_MAP_FILE", unmap: "IOMMU_IOAS_UNMAP", open: "VFIO_DEVICE_ATTACH_IOMMUFD_PT" },
} as const;
type Strategy = keyof typeof CALLS;
const strategies = Object.keys(CALLS) as Strategy[];

/** Has `begin` called once, right before or right after the next call of that name; what it begins goes as far as it gets. */
function around(kernel: SimulatedKernel, name: string, when: "before" | "after", begin: () => void): void {
  const original = kernel.ioctlAsync.bind(kernel);
  let begun = false;
  kernel.ioctlAsync = async (fd, call, argument) => {
    const now = call.name === name && !begun;
    begun ||= now;
    const pause = async () => {
      await setImmediate();
      begin();
      for (let turn = 0; turn < 20; turn++) await setImmediate();
    };
    if (now && when === "before") await pause();
    const answer = await original(fd, call, argument);
    if (now && when === "after") await pause();
    return answer;
  };
}

/** Two spaces: one has a device whose registers the other one maps. */
async function twoSpaces(strategy: Strategy) {
  const kernel = machineOne({ iommufd: true });
  bindToVfio({ syscalls: kernel }, LATER);
  const open = (name: string) => IoAddressSpace.open({ syscalls: kernel }, [name], { strategy });
  const [owner, user] = [await open(OWNER), await open(USER)];
  return { kernel, open, owner, user, bar: owner.interface(OWNER).region("bar0") };
}

/** Nothing is left of the registers in the space, and nothing keeps their device. */
async function nothingLeft({ open, user }: Awaited<ReturnType<typeof twoSpaces>>, mapping?: Mapping): Promise<void> {
  expect([user.mappings, user.broken, mapping?.mapped ?? false]).toEqual([[], undefined, false]);
  expect(user.audit()).toMatchObject({ consistent: true });
  const again = await open(OWNER);
  await again.close();
  await user.close();
}

describe.each(strategies)("a space that is closed while another one, with %s,", (strategy) => {
  const { map, unmap, open: opening } = CALLS[strategy];

  it.each(["before", "after"] as const)("maps its registers (%s the call)", async (when) => {
    const spaces = await twoSpaces(strategy);
    let closing: Promise<void> | undefined;
    around(spaces.kernel, map, when, () => {
      closing = spaces.owner.close();
    });
    expect(await errorFrom(spaces.user.map(spaces.bar, { size: PAGE }))).toMatchObject({ code: "ERR_IOSPAN_RELEASED" });
    await closing;
    expect([closing !== undefined, spaces.owner.closed]).toEqual([true, true]);
    await nothingLeft(spaces);
    expect(spaces.kernel.openFds).toEqual([]);
  });

  it.each(["before", "after"] as const)("unmaps its registers (%s the call)", async (when) => {
    const spaces = await twoSpaces(strategy);
    const mapping = await spaces.user.map(spaces.bar, { size: PAGE });
    let closing: Promise<void> | undefined;
    around(spaces.kernel, unmap, when, () => {
      closing = spaces.owner.close();
    });
    await mapping.unmap();
    expect(closing).toBeDefined();
    await closing;
    await nothingLeft(spaces, mapping);
  });

  // The devices of an iommufd share one address space: nothing is mapped again for one that comes.
  const replaying = strategy === "iommufd" ? [opening] : [map, opening];
  const moments = replaying.flatMap((call) => [[call, "before"] as const, [call, "after"] as const]);

  it.each(moments)("brings in a device that gets them, too (%s, %s)", async (call, when) => {
    const spaces = await twoSpaces(strategy);
    const mapping = await spaces.user.map(spaces.bar, { size: PAGE });
    const other = await spaces.user.map(spaces.bar, { size: PAGE, offset: PAGE });
    let closing: Promise<void> | undefined;
    around(spaces.kernel, call, when, () => {
      closing = spaces.owner.close();
    });
    await spaces.user.attach(LATER);
    expect([closing !== undefined, other.mapped]).toEqual([true, false]);
    await closing;
    expect(spaces.user.interfaces).toEqual([USER, LATER]);
    await nothingLeft(spaces, mapping);
  });

  it("maps its registers when the kernel takes their device back", async () => {
    const spaces = await twoSpaces(strategy);
    let unbinding: Promise<void> | undefined;
    around(spaces.kernel, map, "after", () => {
      unbinding = Promise.resolve(spaces.kernel.unbind(OWNER));
    });
    expect(await errorFrom(spaces.user.map(spaces.bar, { size: PAGE }))).toMatchObject({ code: "ERR_IOSPAN_RELEASED" });
    await unbinding;
    expect([spaces.owner.interfaces, spaces.user.mappings]).toEqual([[], []]);
    expect(spaces.user.audit().consistent).toBe(true);
    await spaces.owner.close();
    await spaces.user.close();
    expect(spaces.kernel.openFds).toEqual([]);
  });

  it("begins to map its registers is faster", async () => {
    const spaces = await twoSpaces(strategy);
    const closing = spaces.owner.close();
    for (let turn = 0; turn < 3; turn++) await Promise.resolve();
    expect(await errorFrom(spaces.user.map(spaces.bar, { size: PAGE }))).toMatchObject({ code: "ERR_IOSPAN_RELEASED" });
    await closing;
    await nothingLeft(spaces);
  });
});

describe("a space with registers of its own mapped", () => {
  it.each(strategies)("is closed though they cannot be unmapped at first, with %s", async (strategy) => {
    const kernel = machineOne({ iommufd: true });
    const syscalls = faulty(kernel);
    const space = await IoAddressSpace.open({ syscalls }, [USER, OWNER], { strategy });
    await space.map(space.interface(OWNER).region("bar0"), { size: PAGE });
    syscalls.fault = { match: ({ ioctl }) => ioctl?.name === CALLS[strategy].unmap, nth: 1, errno: errno.EINVAL };
    const error = await errorFrom(space.close());
    expect((error.cause as AggregateError).errors).toMatchObject([
      { code: "ERR_IOSPAN_BUSY" },
      { code: "ERR_IOSPAN_UNMAP_REFUSED" },
    ]);
    expect([kernel.openFds, kernel.lockedBytes]).toEqual([[], 0]);
  });
});

describe("how often the kernel is asked", () => {
  it("once whether it maps registers of a device, then they are mapped", async () => {
    const kernel = machineOne({ iommufd: true });
    const calls: string[] = [];
    const syscalls = intercepted(kernel, (call, proceed) => {
      if (call.ioctl !== undefined) calls.push(call.ioctl.name);
      return proceed();
    });
    await using space = await IoAddressSpace.open({ syscalls }, [USER, OWNER], { strategy: "iommufd" });
    const region = space.interface(OWNER).region("bar0");
    const callsOf = async (offset: number) => {
      calls.length = 0;
      const mapping = await space.map(region, { size: PAGE, offset });
      await mapping.unmap();
      return calls;
    };
    expect(await callsOf(0)).toContain("IOMMU_IOAS_ALLOC");
    const [probe, give] = ["VFIO_DEVICE_FEATURE", "VFIO_DEVICE_FEATURE"];
    expect(await callsOf(PAGE)).toEqual([probe, give, "IOMMU_IOAS_MAP_FILE", "IOMMU_IOAS_UNMAP"]);
  });
});

describe("a reset of a device whose registers are mapped", () => {
  it.each(strategies)("is told of with %s, where the kernel takes them from the others", async (strategy) => {
    const { owner, user, bar } = await twoSpaces(strategy);
    await using mapping = await user.map(bar, { size: PAGE });
    expect([mapping.revoked, user.audit().consistent]).toEqual([false, true]);
    await owner.interface(OWNER).reset();
    const revoked = strategy === "iommufd";
    expect([mapping.mapped, mapping.revoked]).toEqual([true, revoked]);
    const range = { start: mapping.iova, end: mapping.iova + BigInt(PAGE) - 1n };
    expect(user.audit().differences).toEqual(
      revoked ? [{ problem: "revoked", iommus: expect.any(String), range }] : [],
    );
    await mapping.unmap();
    await using anew = await user.map(bar, { size: PAGE });
    expect([anew.revoked, user.audit().consistent]).toEqual([false, true]);
    await owner.close();
  });

  it("is told of where it failed, since the kernel takes them before, and hot resets for all that they hit", async () => {
    const { machine, pair = [], first } = simulatedRig("iommufd");
    for (const name of pair) bindToVfio(machine, name);
    const syscalls = faulty(machine.syscalls);
    await using space = await IoAddressSpace.open({ syscalls }, [first, ...pair], { strategy: "iommufd" });
    const [one, other, untouched] = await Promise.all(
      [...pair, first].map((name) => space.map(space.interface(name).region("bar0"), { size: PAGE })),
    );
    await space.interface(pair[1] ?? "").hotReset();
    expect([one?.revoked, other?.revoked, untouched?.revoked]).toEqual([true, true, false]);
    syscalls.fault = { match: ({ ioctl }) => ioctl?.name === "VFIO_DEVICE_RESET", nth: 1, errno: errno.EAGAIN };
    expect(await errorFrom(space.interface(first).reset())).toMatchObject({ code: "ERR_IOSPAN_RESET_REFUSED" });
    expect(untouched?.revoked).toBe(true);
    expect(space.audit().differences.map(({ problem }) => problem)).toEqual(["revoked", "revoked", "revoked"]);
  });
});
