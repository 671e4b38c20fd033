import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import {
  Container,
  Device,
  type Fault,
  faulty,
  findDevice,
  Group,
  type InterruptKind,
  IoAddressSpace,
  type Machine,
} from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { CloseLog, precede } from "./close-log.js";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { type Mechanism, mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const EIO = 5;

/** A device of the space that is closed, and the interrupt that is armed then. */
export interface ToClose {
  readonly name: string;
  readonly interrupt?: InterruptKind;
}

const armed = (rig: Rig): readonly ToClose[] => [
  { name: rig.first, interrupt: "msi" },
  { name: rig.second, interrupt: "intx" },
  { name: rig.neighbour },
];

/** A device, and what a log is to say of it. */
interface Silenced extends ToClose {
  /** It masters the bus, so that has to end. */
  readonly mastering: boolean;
  readonly resettable: boolean;
}

async function openArmed(machine: Machine, rig: Rig, devices: readonly ToClose[]) {
  const names = devices.map(({ name }) => name);
  const space = await IoAddressSpace.open(machine, names, { strategy: rig.strategy });
  const silenced = devices.map((device): Silenced => {
    const { pciConfig, resettable } = space.interface(device.name);
    return { ...device, mastering: pciConfig?.busMaster ?? false, resettable };
  });
  for (const { name, interrupt } of devices) if (interrupt !== undefined) space.interface(name).interrupt(interrupt);
  return { space, silenced };
}

/** How a device goes: with a group the group leaves the container, with a node of its own closing it is all there is. */
const LEAVING = {
  containers: ["close device", "leave container", "close group"],
  iommufd: ["close device"],
} as const;
/** The one of these steps that takes it out. */
const LEAVES = { containers: "leave container", iommufd: "close device" } as const;

/** One device: interrupts off, then no bus mastering, then the reset, then closed, and only then out of its container. */
function closedInOrder(
  log: CloseLog,
  { name, interrupt, mastering, resettable }: Silenced,
  mechanism: Mechanism = "containers",
): void {
  const steps = [
    ...(interrupt === undefined ? [] : ["interrupt off" as const]),
    ...(mastering ? ["bus master off" as const] : []),
    ...(resettable ? ["reset" as const] : []),
    ...LEAVING[mechanism],
  ];
  for (const [index, deed] of steps.entries()) {
    for (const later of steps.slice(index + 1)) {
      precede(log.of(deed, name), log.of(later, name), `${name}: "${deed}" before "${later}"`);
    }
  }
  const container = log.containerOf(name);
  precede(
    log.of(LEAVES[mechanism], name),
    log.of("close container", container),
    `${name} leaves, the container closes`,
  );
}

/** No device can do anything any more when the first mapping goes. */
function silencedBeforeUnmaps(log: CloseLog, silenced: Silenced, mechanism: Mechanism): void {
  const { name, interrupt, mastering, resettable } = silenced;
  const unmaps = log.of("unmap");
  if (interrupt !== undefined) precede(log.of("interrupt off", name), unmaps, `${name}: interrupts off, then unmaps`);
  if (mastering) precede(log.of("bus master off", name), unmaps, `${name}: bus mastering off, then unmaps`);
  if (resettable) precede(log.of("reset", name), unmaps, `${name}: reset, then unmaps`);
  const own = log.of("unmap", log.containerOf(name));
  precede(own, log.of(LEAVES[mechanism], name), `unmaps, then ${name} leaves the container`);
}

/** Closes a space with devices that are in use, where `fault` lets it, and looks at the order in which that happens. */
export async function closesInOrder(rig: Rig, devices: readonly ToClose[], fault?: Fault): Promise<void> {
  const before = rig.openFiles();
  const syscalls = faulty(rig.machine.syscalls);
  const log = new CloseLog({ syscalls });
  const { space, silenced } = await openArmed(log.machine, rig, devices);
  const granule = granuleOf(rig);
  using memory = granules({ ...rig, machine: log.machine }, 4, { hugePages: "no" });
  for (const index of [0, 1, 3]) await space.map(memory, { offset: index * granule, size: granule });
  const buffer = space.allocate(granule);
  const { address, size } = buffer.memory;
  const { mappings } = space;
  log.start();
  syscalls.fault = fault;
  if (fault === undefined) await space.close();
  else await refused("ERR_IOSPAN_CLOSE_INCOMPLETE", () => space.close());
  if (fault !== undefined) assert.ok(syscalls.failed !== undefined);
  for (const device of silenced) {
    silencedBeforeUnmaps(log, device, mechanismOf(rig.strategy));
    closedInOrder(log, device, mechanismOf(rig.strategy));
    log.assertUnmapped(mappings, log.containerOf(device.name));
  }
  precede(log.of("unmap"), log.changesOf(address, size), "unmaps, then the memory is given back");
  assert.ok(log.changesOf(address, size).length > 0, "the space's own memory is given back");
  assert.deepEqual(rig.openFiles(), before);
}

const ioctl = (name: string): Fault => ({ match: (call) => call.ioctl?.name === name, nth: 1, errno: EIO });

/** One for every step of closing. */
const obstacles: Readonly<Record<string, Fault>> = {
  "interrupts off": ioctl("VFIO_DEVICE_SET_IRQS"),
  "bus master off": { match: (call) => call.name === "pwrite64", nth: 1, errno: EIO },
  reset: ioctl("VFIO_DEVICE_RESET"),
  close: { match: (call) => call.name === "close", nth: 1, errno: EIO },
};

const ownObstacles: Readonly<Record<Mechanism, Readonly<Record<string, Fault>>>> = {
  containers: { unmap: ioctl("VFIO_IOMMU_UNMAP_DMA"), "leave container": ioctl("VFIO_GROUP_UNSET_CONTAINER") },
  iommufd: { unmap: ioctl("IOMMU_IOAS_UNMAP") },
};

export const closing: readonly Scenario[] = [
  scenario("closes a space in the only safe order: silence every device, unmap, let go", (rig) =>
    closesInOrder(rig, armed(rig)),
  ),

  scenario("keeps to the order of closing, and leaves no step out, when a step fails", async (rig) => {
    const steps = Object.entries({ ...obstacles, ...ownObstacles[mechanismOf(rig.strategy)] });
    for (const [step, fault] of rig.depth === "full" ? steps : steps.slice(0, 1)) {
      try {
        await closesInOrder(rig, armed(rig), fault);
      } catch (error) {
        throw new Error(`where "${step}" fails`, { cause: error });
      }
    }
  }),

  scenario("detaches a device in the only safe order, and leaves the others alone", async (rig) => {
    for (const index of [0, 1]) {
      const log = new CloseLog(rig.machine);
      const both = armed(rig).slice(0, 2);
      const { space, silenced } = await openArmed(log.machine, rig, index === 0 ? both : [...both].reverse());
      await using _space = space;
      using _buffer = space.allocate(granuleOf(rig));
      const [leaving, staying] = silenced;
      assert.ok(leaving !== undefined && staying !== undefined);
      log.start();
      await space.detach(leaving.name);
      closedInOrder(log, leaving, mechanismOf(rig.strategy));
      const container = log.containerOf(leaving.name);
      precede(log.of("reset", leaving.name), log.of("unmap"), "reset, then unmaps");
      assert.deepEqual(
        log.steps.filter(({ of }) => of === staying.name).map(({ deed }) => deed),
        [],
        `${staying.name} stays as it is`,
      );
      const shared = container === log.containerOf(staying.name);
      assert.equal(log.of("close container").length, shared ? 0 : 1);
      if (shared) assert.equal(log.of("unmap").length, 0, "what both see stays mapped");
      consistent(space, 1);
    }
  }),

  scenario(
    "closes a device of one's own container in the same order",
    async (rig) => {
      const before = rig.openFiles();
      const log = new CloseLog(rig.machine);
      const { syscalls } = log.machine;
      const { group: id, iommu } = findDevice(rig.machine, rig.first);
      assert.ok(id !== undefined && iommu !== undefined);
      const group = await Group.open(syscalls, { id, iommu: iommu.name, device: rig.first });
      using container = await Container.open(syscalls);
      container.attach(group);
      const device = await Device.open(syscalls, group, { name: rig.first, bus: "pci", iommu: iommu.name });
      device.pciConfig?.setBusMaster(true);
      device.interrupt("msi");
      log.start();
      await device.close();
      container.detach(group);
      group.close();
      container.close();
      closedInOrder(log, { name: rig.first, interrupt: "msi", mastering: true, resettable: device.resettable });
      assert.deepEqual(rig.openFiles(), before);
    },
    (rig) => (rig.strategy === "mirrored" ? undefined : "has nothing to do with the strategy"),
  ),

  scenario("a transfer under way when the space closes does not reach the memory any more", async (rig) => {
    const { wait = (milliseconds) => setTimeout(milliseconds) } = rig;
    const names = [rig.first, rig.second];
    using memory = granules(rig, 1);
    const space = await IoAddressSpace.open(rig.machine, names, { strategy: rig.strategy });
    memory.bytes.fill(0x11);
    const { iova } = await space.map(memory);
    const transfers = names.map(async (name) => {
      const engine = new Edu(space.interface(name));
      await engine.load(iova, EDU_BUFFER_SIZE);
      return () => engine.store(iova, EDU_BUFFER_SIZE);
    });
    // Both started before the close, 100 ms before their end; their driver loses the registers under its hands.
    const underWay = (await Promise.all(transfers)).map((start) => start());
    const outcomes = Promise.allSettled(underWay);
    await space.close();
    memory.bytes.fill(0x5a);
    await outcomes;
    // Longer than a transfer takes. Only then is it over: QEMU's edu finishes what it was told to do although it has been
    // reset, so a space opened in the meantime would let it through to what is mapped there.
    await wait(250);
    const at = memory.bytes.findIndex((byte) => byte !== 0x5a);
    assert.equal(at, -1, `byte ${at} was written after the space had been closed`);
  }),
];
