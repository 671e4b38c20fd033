import { describe, expect, it } from "vitest";
import { simulate } from "../../src/sim/simulate.js";
import type { SimulateOptions } from "../../src/sim/simulate-options.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { errorOf } from "../support/errors.js";
import { chipSource } from "./chip/board.js";

const source = chipSource("dual-smmu");

describe("the container of a simulated machine", () => {
  it.each([
    [undefined, "/dev/vfio/vfio", 1],
    ["type1", "/dev/vfio/vfio", 1],
    ["iommufd", "/dev/vfio/vfio", 0],
    ["iommufd-link", "/dev/iommu", 0],
  ] as const)("%s is opened as %s", (container, path, containers) => {
    const machine = simulate(source, container === undefined ? {} : { container });
    machine.syscalls.open("/dev/vfio/vfio", O_RDWR);
    expect(machine.openFds.map((each) => each.path)).toEqual([path]);
    expect(machine.containers).toHaveLength(containers);
    expect(machine.iommufds).toHaveLength(1 - containers);
  });

  it.each([
    ["iommu", {}, "type1, iommufd, iommufd-link"],
    ["iommufd", { iommufd: false }, "leave `iommufd` on"],
    ["iommufd", { release: "6.1" }, "a release from 6.2 on"],
    ["iommufd-link", { release: "5.10" }, "a release from 6.2 on"],
  ])("cannot be %s with %j", (container, options, hint) => {
    const error = errorOf(() => simulate(source, { ...options, container } as SimulateOptions));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(error.hint).toContain(hint);
  });

  it("has devices with nodes of their own beside it, unless VFIO is built without", () => {
    const names = (options: SimulateOptions) => simulate(source, { drivers: "vfio", ...options }).syscalls;
    expect(names({ container: "iommufd" }).readDirectory("/dev/vfio/devices")).toEqual(["vfio0", "vfio1"]);
    expect(names({ container: "iommufd", vfioCdev: false }).readDirectory("/dev/vfio")).not.toContain("devices");
    expect(names({ vfioCdev: false }).readDirectory("/dev")).toContain("iommu");
  });
});
