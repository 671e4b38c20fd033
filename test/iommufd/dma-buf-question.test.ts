import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { Device } from "../../src/vfio/device.js";
import { exportDmaBuf } from "../../src/vfio/dma-buf.js";
import { errorOf } from "../support/errors.js";
import { IommufdRig, identityOf, SECOND } from "./rig.js";

const PAGE = 4096;

async function exported() {
  const rig = await IommufdRig.open();
  const device = await Device.open(rig.syscalls, await rig.attached(SECOND), identityOf(rig.kernel, SECOND));
  const fd = exportDmaBuf(device.region("bar0").handle, { offset: 0, size: PAGE });
  /** What is said when the nth IOMMU_IOAS_MAP_FILE fails so. */
  const ask = (nth: number, no: number) => {
    rig.syscalls.fault = { match: ({ ioctl }) => ioctl?.name === "IOMMU_IOAS_MAP_FILE", nth, errno: no };
    return rig.ioas.takesDmaBuf(fd, PAGE);
  };
  return { rig, fd, ask };
}

describe("asking whether dma-bufs are mapped", () => {
  it("tells kernels that do not know them from those that do", async () => {
    const { rig, fd, ask } = await exported();
    expect(rig.ioas.takesDmaBuf(fd, PAGE)).toBe("taken");
    expect([ask(1, errno.ENOTTY), ask(1, errno.EOPNOTSUPP)]).toEqual(["unknown", "unknown"]);
    expect([ask(2, errno.EOPNOTSUPP), ask(2, errno.ENODEV)]).toEqual(["unknown", "revoked"]);
  });

  it.each([
    [1, errno.ENOMEM],
    [1, errno.EBADF],
    [2, errno.ENOMEM],
    [2, errno.EINVAL],
  ])("takes no other answer for one (call %i, errno %i), and leaves nothing behind", async (nth, no) => {
    const { rig, fd, ask } = await exported();
    const error = errorOf(() => ask(nth, no));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", syscall: "IOMMU_IOAS_MAP_FILE", errno: no });
    expect(error.message).toContain("whether the kernel maps dma-bufs");
    rig.syscalls.fault = undefined;
    expect(rig.ioas.takesDmaBuf(fd, PAGE)).toBe("taken");
  });
});
