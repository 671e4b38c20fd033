import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { SyscallError } from "../../src/syscalls/syscalls.js";
import { kindOf } from "../../src/vfio/container-kind.js";
import { errorOf, thrownBy } from "../support/errors.js";
import { fd, strictSyscalls } from "../support/strict-syscalls.js";

const ABOUT = { device: "0000:02:00.0", iommu: "smmu3.0x9050000" };
const COHERENT = 4;

/** A container of which CHECK_EXTENSION answers so. */
const answering = (answer: (extension: unknown) => number, version = 0) =>
  strictSyscalls({
    ioctl: (_, { name }, argument) => (name === "VFIO_GET_API_VERSION" ? version : answer(argument)),
  });

const refusing = (name: ErrnoName) => (extension: unknown) => {
  if (extension === COHERENT) throw new SyscallError("VFIO_CHECK_EXTENSION", errno[name], name);
  return 1;
};

describe("the kind of a container", () => {
  it.each([
    ["type1", "type1"],
    ["iommufd", "iommufd"],
    ["iommufd-link", "iommufd"],
  ] as const)("where the kernel has %s: %s", (container, kind) => {
    const kernel = machineOne({ iommufd: true, container });
    expect(kindOf(kernel, kernel.open("/dev/vfio/vfio", O_RDWR), ABOUT)).toBe(kind);
  });

  it("is type1 where there is an answer to whether DMA is coherent, and iommufd where there is nothing to ask of", () => {
    for (const coherent of [0, 1]) {
      expect(
        kindOf(
          answering((each) => (each === COHERENT ? coherent : 1)),
          fd(20),
          ABOUT,
        ),
      ).toBe("type1");
    }
    expect(kindOf(answering(refusing("ENODEV")), fd(20), ABOUT)).toBe("iommufd");
  });

  it("is unknown where the question itself fails", () => {
    const error = thrownBy(() => kindOf(answering(refusing("EIO")), fd(20), ABOUT));
    expect(error).toMatchObject({ errno: errno.EIO });
  });

  it("is none for another version, or without type1", () => {
    for (const syscalls of [answering(() => 1, 1), answering(() => 0)]) {
      expect(errorOf(() => kindOf(syscalls, fd(20), ABOUT))).toMatchObject({ code: "ERR_IOSPAN_NO_VFIO", ...ABOUT });
    }
  });
});
