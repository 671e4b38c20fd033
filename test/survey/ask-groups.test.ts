import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { readChip } from "../../src/cli/chip-file.js";
import { simulate } from "../../src/sim/simulate.js";
import type { SimulateOptions } from "../../src/sim/simulate-options.js";
import { askGroup } from "../../src/survey/ask-group.js";
import { askGroups, groupsToAsk, withAnswers, withLog } from "../../src/survey/ask-groups.js";
import { surveyMachine, surveyOfTopology } from "../../src/survey/survey-machine.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { Group } from "../../src/vfio/group.js";
import { BARE, pciMachine } from "../sim/linux/pci-machine.js";

const dual = readChip("dual-smmu").content;
const onVfio = (options: SimulateOptions = {}) => simulate(dual, { drivers: "vfio", ...options });
const FIRST = { id: 1, device: "0000:01:00.0", iommu: "smmu3.0x000000000c000000" };

/** What is left of asking: descriptors, containers, pins. */
function left({ openFds, containers, iommufds, pinnedPages }: ReturnType<typeof simulate>): readonly unknown[] {
  return [...openFds, ...containers, ...iommufds, pinnedPages];
}

describe("a group that is asked", () => {
  it("answers with what its IOMMU maps, and nothing is left", async () => {
    const machine = onVfio({ dmaEntryLimit: 77 });
    expect(await askGroup(machine, FIRST)).toEqual({
      asked: "answered",
      by: "type1",
      pageSizes: 0x40201000n,
      ranges: [
        { start: 0n, end: 0x7ffffffn },
        { start: 0x8100000n, end: 2n ** 48n - 1n },
      ],
      entries: 77,
    });
    expect(left(machine)).toEqual([0]);
  });

  it("tells IOMMUs apart", async () => {
    const machine = simulate(readChip("unequal-aperture").content, { drivers: "vfio" });
    const answers = await askGroups(machine, surveyMachine(machine.syscalls));
    const ends = [...answers.values()].map((answer) => answer.asked === "answered" && answer.ranges.at(-1)?.end);
    expect(new Set(ends).size).toBe(2);
    expect(left(machine)).toEqual([0]);
  });

  it.each(["iommufd", "iommufd-link"] as const)(
    "is not asked where the container is an iommufd: %s",
    async (container) => {
      const machine = onVfio({ container });
      const why = expect.stringContaining("iommufd");
      expect(await askGroup(machine, FIRST)).toEqual({ asked: "not asked", isIommufd: true, why });
      expect(left(machine)).toEqual([0]);
    },
  );

  it("says who has it, and what is wrong", async () => {
    const machine = onVfio();
    using group = await Group.open(machine.syscalls, FIRST);
    expect(await askGroup(machine, FIRST)).toMatchObject({
      asked: "refused",
      code: "ERR_IOSPAN_GROUP_BUSY",
      errno: errno.EBUSY,
      message: expect.stringContaining("in use"),
    });
    group.close();
    const none = await askGroup(machine, { ...FIRST, id: 99 });
    expect(none).toMatchObject({ asked: "refused", code: "ERR_IOSPAN_WRONG_DRIVER", errno: errno.ENOENT });
    expect(left(machine)).toEqual([0]);
  });

  it("survives any call that fails, and leaves nothing", async () => {
    const whole = await askGroup(onVfio(), FIRST);
    let failures = 0;
    for (let nth = 1; ; nth++) {
      const machine = onVfio();
      const syscalls = faulty(machine.syscalls, { nth, errno: errno.EIO });
      const answer = await askGroup({ syscalls }, FIRST);
      expect(left(machine)).toEqual([0]);
      if (syscalls.failed === undefined) {
        expect(answer).toEqual(whole);
        break;
      }
      failures += 1;
      expect(answer).toMatchObject({ asked: "refused", message: expect.stringContaining("EIO"), errno: errno.EIO });
    }
    expect(failures).toBeGreaterThan(8);
  });
});

describe("the groups of a survey", () => {
  it("are asked where VFIO has them", async () => {
    const machine = onVfio();
    const survey = surveyMachine(machine.syscalls);
    const { groups, others } = groupsToAsk(survey);
    expect(groups).toEqual([FIRST, { id: 2, device: "9030000.dma-port", iommu: "smmu3.0x000000000c020000" }]);
    expect(others.size).toBe(0);
    const answered = withAnswers(survey, await askGroups(machine, survey));
    expect([...(answered.kernel?.groups.values() ?? [])].map(({ answer }) => answer?.asked)).toEqual([
      "answered",
      "answered",
    ]);
    expect(withAnswers(answered, new Map())).toEqual(answered);
    expect(left(machine)).toEqual([0]);
  });

  it("are not asked where others have them", async () => {
    const machine = simulate(dual, { drivers: { "9030000.dma-port": "vfio-platform" } });
    const fd = machine.syscalls.open("/dev/vfio/2", O_RDWR);
    const survey = surveyMachine(machine.syscalls, { devices: "all" });
    const answers = await askGroups(machine, survey);
    expect([...answers.values()]).toContainEqual({ asked: "not asked", why: "no device of it is on a VFIO driver" });
    expect(answers.get(2)).toEqual({ asked: "not asked", why: "process 4711 (node) has it open" });
    expect(machine.openFds).toEqual([{ fd, path: "/dev/vfio/2" }]);
  });

  it("are not asked where there is no IOMMU", async () => {
    const kernel = pciMachine({ [BARE]: { driver: "vfio-pci" } }, { unsafeNoiommu: true });
    const survey = surveyMachine(kernel);
    const bare = survey.topology.devices.find(({ name }) => name === BARE);
    const answers = await askGroups({ syscalls: kernel }, survey);
    expect(answers.get(bare?.group ?? -1)).toEqual({
      asked: "not asked",
      why: expect.stringContaining("without an IOMMU"),
    });
    expect([...answers.values()].some(({ asked }) => asked === "answered")).toBe(true);
    expect(kernel.openFds).toEqual([]);
  });

  it("are none where there is no kernel", async () => {
    const machine = onVfio();
    const survey = surveyOfTopology(surveyMachine(machine.syscalls).topology);
    expect((await askGroups(machine, survey)).size).toBe(0);
    expect(withAnswers(survey, new Map([[1, { asked: "not asked", why: "x" }]]))).toBe(survey);
    expect(withLog(survey, ["x"])).toBe(survey);
  });
});
