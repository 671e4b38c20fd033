import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import { iova } from "../../src/iova.js";
import type { ContainerProvider } from "../../src/sim/linux/description.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../../src/syscalls/mmap-flags.js";
import { accesses, Container } from "../../src/vfio/container.js";
import { Device } from "../../src/vfio/device.js";
import { Group } from "../../src/vfio/group.js";

const DEVICE = "0000:02:00.0";
const IOMMU = "smmu3.0x000000000c000000";
const PAGE = 4096;
const START = 0x40_0000;
const MOST = 16;

/** A container with an open device, and memory to map. */
async function open(container: ContainerProvider) {
  const kernel = machineOne({ container, iommufd: true });
  const link = kernel.readLink(`/sys/bus/pci/devices/${DEVICE}/iommu_group`);
  const id = Number(link.slice(link.lastIndexOf("/") + 1));
  const group = await Group.open(kernel, { id, iommu: IOMMU, device: DEVICE });
  const made = await Container.open(kernel);
  made.attach(group);
  await Device.open(kernel, group, { name: DEVICE, bus: "pci", iommu: IOMMU });
  const request = { length: MOST * PAGE, prot: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS };
  return { kernel, container: made, address: kernel.mmap(request) };
}

type Opened = Awaited<ReturnType<typeof open>>;
type Step = (opened: Opened) => unknown;

/** What it returns, or the code of its error. */
function outcome(step: Step, opened: Opened): unknown {
  try {
    return step(opened);
  } catch (error) {
    if (error instanceof IospanError) return error.code;
    throw error;
  }
}

const page = fc.integer({ min: 0, max: MOST - 1 });
/** Small, so that several mappings have room. */
const pagesOf = (most: number) => fc.integer({ min: 1, max: most });
const place = (at: number) => iova(START + at * PAGE);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(page, pagesOf(3), fc.constantFrom(...accesses)).map(
    ([at, pages, access]): Step =>
      ({ container, address }) =>
        container.map({ iova: place(at), address, size: pages * PAGE, access }),
  ),
  fc.tuple(page, pagesOf(8)).map(
    ([at, pages]): Step =>
      ({ container }) =>
        container.unmap(place(at), pages * PAGE),
  ),
  fc.tuple(page, pagesOf(8)).map(
    ([at, pages]): Step =>
      ({ container }) =>
        container.isMapped(place(at), BigInt(pages * PAGE)),
  ),
);

describe("VFIO's own container and an iommufd in its place", () => {
  it("answer the same, and have the same mapped, whatever is mapped and unmapped", async () => {
    const property = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const [own, compat] = [await open("type1"), await open("iommufd")];
      for (const each of steps) expect(outcome(each, compat)).toEqual(outcome(each, own));
      const mapped = own.kernel.containers[0]?.type1?.domains[0]?.mappings;
      expect(compat.kernel.iommufds[0]?.ioases[0]?.hwpts[0]?.mappings).toEqual(mapped);
      expect(compat.kernel.pinnedPages).toBe(own.kernel.pinnedPages);
    });
    await fc.assert(property, { numRuns: 60 });
  });
});
