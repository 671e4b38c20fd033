import { describe, expect, it } from "vitest";
import { iova } from "../../src/iova.js";
import type { MachineDevice } from "../../src/machine/machine.js";
import { Interfaces } from "../../src/space/interfaces.js";
import type { MappingRecord } from "../../src/space/ledger.js";
import type { Attachment, MapTarget, Strategy } from "../../src/space/strategies/strategy.js";
import type { Access } from "../../src/vfio/container.js";
import type { Device } from "../../src/vfio/device.js";
import { errorFrom, errorOf, rejectionOf } from "../support/errors.js";
import { FakeTarget } from "../support/fake-target.js";
import { deviceBehind } from "../support/machines.js";
import { record } from "../support/records.js";

const PAGE = 4096;

/** Where attaching is to fail. */
type Failure =
  | "attach"
  | "info"
  | "map"
  | "open"
  | "bus master"
  | "adopt"
  | "release"
  | "detach"
  | "quiesce"
  | "silence"
  | "reset";

/** A strategy with a target per IOMMU (or one for all), which tells what it does and fails where it is told to. */
class FakeStrategy implements Strategy {
  readonly name;
  readonly perInterface;
  readonly log: string[] = [];
  readonly byKey = new Map<string, { readonly target: FakeTarget; users: number }>();
  readonly fails = new Set<Failure>();
  /** Whether the devices can be reset. */
  resettable = true;
  /** Told to every new target, before anybody asks it anything. */
  prepare: (target: FakeTarget) => void = () => {};

  constructor(name: Strategy["name"] = "mirrored") {
    this.name = name;
    this.perInterface = name === "mirrored";
  }

  get targets(): readonly FakeTarget[] {
    return [...this.byKey.values()].map(({ target }) => target);
  }

  async attach(device: MachineDevice): Promise<Attachment> {
    this.#step("attach", device.name);
    const key = this.name === "mirrored" ? (device.iommu?.name ?? "") : "all";
    const fresh = !this.byKey.has(key);
    const place = this.byKey.get(key) ?? { target: this.#newTarget(key), users: 0 };
    this.byKey.set(key, place);
    place.users += 1;
    return {
      target: place.target,
      fresh,
      openDevice: async () => {
        this.#step("open", device.name);
        return this.#device(device.name);
      },
      detach: () => {
        place.users -= 1;
        if (place.users === 0) this.byKey.delete(key);
        return this.#failures("detach", device.name);
      },
    };
  }

  #newTarget(key: string): FakeTarget {
    const target = new FakeTarget(key, this.log);
    this.prepare(target);
    target.fate = (call) => (call !== "unmap" && this.fails.has(call) ? "fail" : "works");
    return target;
  }

  #device(name: string): Device {
    const device = {
      name,
      closed: false,
      ownBySpace: () => {},
      watchRemoval: () => {},
      resettable: this.resettable,
      pciConfig: { setBusMaster: (on: boolean) => this.#step("bus master", `${name} ${on ? "on" : "off"}`) },
      release: () => this.#failures("release", name),
      quiesce: async () => this.#failures("quiesce", name),
      silence: () => this.#failures("silence", name),
      resetLast: async () => this.#step("reset", name),
      callsEnded: async () => {},
    };
    return device as unknown as Device;
  }

  #step(what: Failure, about: string): void {
    this.log.push(`${what} ${about}`);
    if (this.fails.has(what)) throw new Error(`${what} failed`);
  }

  #failures(what: Failure, about: string): readonly unknown[] {
    this.log.push(`${what} ${about}`);
    return this.fails.has(what) ? [new Error(`${what} failed`), new Error("and more")] : [];
  }
}

function fresh(name?: Strategy["name"]) {
  const strategy = new FakeStrategy(name);
  const interfaces = new Interfaces(strategy, PAGE);
  const attach = (device: MachineDevice, records: readonly MappingRecord[] = []) =>
    interfaces.attach(device, records, () => {
      strategy.log.push(`adopt ${device.name}`);
      if (strategy.fails.has("adopt")) throw new Error("adopt failed");
    });
  return { strategy, interfaces, attach, log: strategy.log };
}

const [a, b, beside] = [deviceBehind("smmu0", "a"), deviceBehind("smmu1", "b"), deviceBehind("smmu0", "a2")];
const limited = (...entries: [string, Access][]): MappingRecord["access"] => new Map(entries);
const everybody = record(0x1000, PAGE);
const onlyA = record(0x2000, PAGE, { access: limited(["a", "read"]) });

/** What each target has, as text. */
function contents(targets: readonly MapTarget[]): string[][] {
  return targets.map((target) =>
    [...(target as FakeTarget).entries].map(([at, { access }]) => `${at.toString(16)} ${access}`),
  );
}

describe("attaching", () => {
  it("replays every mapping before the device is opened, and lets it master the bus after that", async () => {
    const { attach, interfaces, log } = fresh();
    await attach(a, [everybody, record(0x5000, PAGE, { access: "read" })]);
    expect(log).toEqual(["attach a", "map smmu0", "map smmu0", "open a", "bus master a on", "adopt a"]);
    expect(interfaces.names).toEqual(["a"]);
    expect(interfaces.device("a")?.name).toBe("a");
    expect(interfaces.device("b")).toBeUndefined();
  });

  it("does not replay into a target that the kernel replays", async () => {
    const { attach, strategy, log } = fresh();
    await attach(a, []);
    log.length = 0;
    await attach(beside, [everybody]);
    expect(log).toEqual(["attach a2", "open a2", "bus master a2 on", "adopt a2"]);
    expect(strategy.targets).toHaveLength(1);
  });

  it("does not replay what is limited to others", async () => {
    const { attach, strategy } = fresh();
    await attach(a, []);
    await attach(b, [everybody, onlyA]);
    expect(contents(strategy.targets)).toEqual([[], ["1000 read-write"]]);
  });

  it("narrows the limits to what all IOMMUs allow, and tells them before they are in force", async () => {
    const { interfaces, strategy } = fresh();
    expect(interfaces.limits.granule).toBe(PAGE);
    strategy.prepare = (target) => {
      if (target.iommus === "smmu1") target.pageSizes = 0x10000n;
      target.ranges = [{ start: iova(0), end: iova(target.iommus === "smmu1" ? 0xffffffffn : 2n ** 48n - 1n) }];
    };
    await interfaces.attach(a, [], () => {});
    const adopted: number[] = [];
    await interfaces.attach(b, [], ({ granule }) => {
      adopted.push(granule, interfaces.limits.granule);
    });
    expect(adopted).toEqual([0x10000, PAGE]);
    expect(interfaces.limits.granule).toBe(0x10000);
    expect(interfaces.limits.iovaRanges.ranges).toEqual([{ start: 0n, end: 0xffffffffn }]);
  });

  const undoing: readonly (readonly [Failure, readonly string[]])[] = [
    ["attach", ["attach b"]],
    ["info", ["attach b", "detach b"]],
    ["map", ["attach b", "map smmu1", "detach b"]],
    ["open", ["attach b", "map smmu1", "open b", "detach b"]],
    ["bus master", ["attach b", "map smmu1", "open b", "bus master b on", "release b", "detach b"]],
    ["adopt", ["attach b", "map smmu1", "open b", "bus master b on", "adopt b", "release b", "detach b"]],
  ];

  it.each(undoing)("undoes everything in reverse when it fails at: %s", async (failure, steps) => {
    const { attach, interfaces, strategy, log } = fresh();
    await attach(a, [everybody]);
    const limits = interfaces.limits;
    log.length = 0;
    strategy.fails.add(failure);
    expect(String(await rejectionOf(attach(b, [everybody])))).toMatch(/failed|refuses/);
    strategy.fails.clear();
    expect(log).toEqual(steps);
    expect(interfaces.names).toEqual(["a"]);
    expect(interfaces.device("b")).toBeUndefined();
    expect(interfaces.limits).toBe(limits);
    expect(interfaces.reaches("read")).toHaveLength(1);
    await attach(b, [everybody]); // and can be attached afterwards
    expect(interfaces.names).toEqual(["a", "b"]);
  });

  it.each(["release", "detach"] as const)("says so when it cannot be undone: %s", async (failure) => {
    const { attach, strategy, log } = fresh();
    strategy.fails.add("adopt").add(failure);
    const error = await errorFrom(attach(a, []));
    expect(error.code).toBe("ERR_IOSPAN_INCONSISTENT");
    expect(error.message).toContain("attaching a");
    expect(error.message).toContain("adopt failed");
    expect(error.message).toContain(`${failure} failed`);
    expect(log.slice(-2)).toEqual(["release a", "detach a"]);
  });

  it("refuses a device whose IOMMU cannot have a mapping, and names both", async () => {
    const { attach, strategy, interfaces } = fresh();
    strategy.prepare = (target) => {
      target.ranges = [{ start: iova(0x100000), end: iova(0xffffffff) }];
    };
    const error = await errorFrom(attach(b, [everybody]));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_MAP_RANGE", device: "b" });
    expect(error.message).toContain("0x1000-0x1fff");
    expect(interfaces.names).toEqual([]);
    expect(strategy.targets).toEqual([]);
  });

  it("refuses a device whose target has mappings that are limited to others", async () => {
    const { attach, log } = fresh();
    await attach(a, []);
    const error = await errorFrom(attach(beside, [onlyA]));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_NOT_SUPPORTED", device: "a2", iommu: "smmu0" });
    expect(error.message).toContain("a2 shares an IOMMU with a");
    expect(log.slice(-2)).toEqual(["attach a2", "detach a2"]);
    await attach(beside, [record(0x3000, PAGE, { access: limited(["b", "read"]) })]); // limited, but elsewhere
  });
});

describe("where a mapping goes", () => {
  it("is every target once, though several interfaces are behind it", async () => {
    const { attach, interfaces, strategy } = fresh();
    for (const device of [a, beside, b]) await attach(device);
    const reaches = interfaces.reaches("write");
    expect(reaches.map(({ target }) => target)).toEqual(strategy.targets);
    expect(reaches.map(({ access }) => access)).toEqual(["write", "write"]);
  });

  it("is nowhere without interfaces", () => {
    expect(fresh().interfaces.reaches("read")).toEqual([]);
  });

  it("is where the named interfaces are, each with its access", async () => {
    const { attach, interfaces } = fresh();
    for (const device of [a, b]) await attach(device);
    const names = (access: MappingRecord["access"]) =>
      interfaces.reaches(access).map(({ target, access: each }) => `${target.iommus} ${each}`);
    expect(names(limited(["b", "read"]))).toEqual(["smmu1 read"]);
    expect(names(limited(["a", "read"], ["b", "write"]))).toEqual(["smmu0 read", "smmu1 write"]);
  });

  it("cannot be an interface that is not there", async () => {
    const { attach, interfaces } = fresh();
    await attach(a);
    const error = errorOf(() => interfaces.reaches(limited(["a", "read"], ["z", "read"])));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_NO_DEVICE", device: "z" });
    expect(error.hint).toContain("a");
  });

  it.each([
    ["one of them", limited(["a", "read"])],
    ["both, with different access", limited(["a", "read"], ["a2", "write"])],
  ])("cannot tell interfaces apart that share an IOMMU: %s", async (_, access) => {
    const { attach, interfaces } = fresh();
    for (const device of [a, beside, b]) await attach(device);
    const error = errorOf(() => interfaces.reaches(access));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_NOT_SUPPORTED", iommu: "smmu0" });
    expect(error.message).toContain("a and a2 share an IOMMU");
    expect(interfaces.reaches(limited(["a", "read"], ["a2", "read"]))).toHaveLength(1);
  });

  it("cannot be some interfaces only where the strategy has one target for all", async () => {
    const { attach, interfaces } = fresh("shared-container");
    for (const device of [a, b]) await attach(device);
    const error = errorOf(() => interfaces.reaches(limited(["a", "read"], ["b", "read"])));
    expect(error.code).toBe("ERR_IOSPAN_NOT_SUPPORTED");
    expect(error.hint).toContain("mirrored");
    expect(interfaces.reaches("read")).toHaveLength(1);
  });
});

describe("detaching", () => {
  it("quiesces before it releases, and gives the place up last", async () => {
    const { attach, interfaces, log } = fresh();
    for (const device of [a, b]) await attach(device);
    log.length = 0;
    expect(await interfaces.detach("a")).toEqual([]);
    expect(log).toEqual(["quiesce a", "release a", "detach a"]);
    expect(interfaces.names).toEqual(["b"]);
    expect(interfaces.reaches("read").map(({ target }) => target.iommus)).toEqual(["smmu1"]);
  });

  it("of what is not there does nothing", async () => {
    const { interfaces, log } = fresh();
    expect(await interfaces.detach("z")).toEqual([]);
    expect(interfaces.release("z")).toEqual([]);
    expect(log).toEqual([]);
  });

  it("keeps a target that others are behind", async () => {
    const { attach, interfaces } = fresh();
    for (const device of [a, beside]) await attach(device);
    await interfaces.detach("a");
    expect(interfaces.reaches("read")).toHaveLength(1);
    await interfaces.detach("a2");
    expect(interfaces.reaches("read")).toEqual([]);
  });

  it("widens the limits again", async () => {
    const { attach, interfaces, strategy } = fresh();
    strategy.prepare = (target) => {
      if (target.iommus === "smmu1") target.pageSizes = 0x10000n;
    };
    for (const device of [a, b]) await attach(device);
    expect(interfaces.limits.granule).toBe(0x10000);
    await interfaces.detach("b");
    expect(interfaces.limits.granule).toBe(PAGE);
  });

  it("keeps the narrow limits when the kernel does not tell the wider ones, and reports that", async () => {
    const { attach, interfaces, strategy } = fresh();
    for (const device of [a, beside]) await attach(device);
    strategy.fails.add("info");
    const failures = await interfaces.detach("a");
    expect(failures.map(String)).toEqual([expect.stringContaining("smmu0 refuses: info")]);
    expect(interfaces.limits.granule).toBe(PAGE);
    expect(interfaces.limits.iovaRanges.ranges).toEqual([{ start: 0n, end: 2n ** 48n - 1n }]);
  });

  it("goes on to the end whatever fails, and reports all of it", async () => {
    const { attach, interfaces, strategy, log } = fresh();
    await attach(a);
    log.length = 0;
    for (const failure of ["quiesce", "release", "detach"] as const) strategy.fails.add(failure);
    const failures = await interfaces.detach("a");
    const more = "Error: and more";
    expect(failures.map(String)).toEqual([
      "Error: quiesce failed",
      more,
      "Error: release failed",
      more,
      "Error: detach failed",
      more,
    ]);
    expect(log).toEqual(["quiesce a", "release a", "detach a"]);
    expect(interfaces.names).toEqual([]);
  });
});

describe("at the end of a space", () => {
  it("every device is silent before the first is reset, whatever fails", async () => {
    const { attach, interfaces, strategy, log } = fresh();
    for (const device of [a, b]) await attach(device);
    log.length = 0;
    strategy.fails.add("silence").add("reset");
    expect((await interfaces.quiesceAll()).map(String)).toEqual([
      ...["Error: silence failed", "Error: and more", "Error: silence failed", "Error: and more"],
      ...["Error: reset failed", "Error: reset failed"],
    ]);
    expect(log).toEqual(["silence a", "silence b", "reset a", "reset b"]);
    expect(interfaces.names).toEqual(["a", "b"]);
  });

  it("what cannot be reset is silenced", async () => {
    const { attach, interfaces, strategy, log } = fresh();
    strategy.resettable = false;
    await attach(a);
    expect(log).not.toContain("bus master a on");
    log.length = 0;
    expect(await interfaces.quiesceAll()).toEqual([]);
    expect(log).toEqual(["silence a"]);
  });
});

describe("what an audit is to find", () => {
  it("is for each target the mappings that reach it, and its capacity when it was empty", async () => {
    const { attach, interfaces, strategy } = fresh();
    await attach(a, [everybody]);
    await attach(b, [everybody]);
    const subjects = interfaces.auditSubjects([everybody, onlyA]);
    expect(subjects.map(({ target }) => target)).toEqual(strategy.targets);
    expect(subjects.map(({ records }) => records)).toEqual([[everybody, onlyA], [everybody]]);
    expect(subjects.map(({ capacity, pageSize }) => [capacity, pageSize])).toEqual([
      [65535, PAGE],
      [65535, PAGE],
    ]);
  });

  it("keeps the capacity of a target that has mappings when another device joins", async () => {
    const { attach, interfaces, strategy } = fresh();
    await attach(a, []);
    strategy.targets[0]?.map({ ...everybody, access: "read" });
    await attach(beside, [everybody]);
    expect(interfaces.auditSubjects([everybody]).map(({ capacity }) => capacity)).toEqual([65535]);
    await interfaces.detach("a");
    expect(interfaces.auditSubjects([everybody]).map(({ capacity }) => capacity)).toEqual([65535]);
  });

  it("does not count where the kernel does not tell", async () => {
    const { attach, interfaces, strategy } = fresh();
    strategy.prepare = (target) => {
      target.capacity = undefined;
    };
    await attach(a, []);
    expect(interfaces.auditSubjects([])[0]?.capacity).toBeUndefined();
  });
});
