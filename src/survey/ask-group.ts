import { IospanError } from "../errors.js";
import type { Machine } from "../machine/machine.js";
import { Container } from "../vfio/container.js";
import { Group, type GroupIdentity } from "../vfio/group.js";
import type { GroupAnswer } from "./survey.js";

/**
 * Asks the kernel what an IOMMU group can map: opens the group and a container of its own, and closes both again. No device is
 * opened, which would reset it, and nobody who has the group open is disturbed: it cannot be opened a second time. For that
 * moment others are refused it (EBUSY), and so is a driver that would probe a device of it (drivers/iommu/iommu.c,
 * iommu_device_use_default_domain).
 * @param group as for `Group.open`.
 * @returns what the kernel answered or why it refused; nothing is thrown for that.
 */
export async function askGroup(machine: Machine, group: GroupIdentity): Promise<GroupAnswer> {
  try {
    return await openAndAsk(machine, group);
  } catch (error) {
    if (!(error instanceof IospanError)) throw error;
    const { code, message, errno, hint } = error;
    return { asked: "refused", code, message, errno, hint };
  }
}

async function openAndAsk({ syscalls }: Machine, identity: GroupIdentity): Promise<GroupAnswer> {
  const group = await Group.open(syscalls, identity);
  try {
    const container = await Container.open(syscalls, identity);
    try {
      return ask(container, group);
    } finally {
      container.close();
    }
  } finally {
    group.close();
  }
}

function ask(container: Container, group: Group): GroupAnswer {
  // It would say that everything can be mapped (iommufd/vfio_compat.c, iommufd_vfio_iommu_get_info).
  if (container.kind === "iommufd") {
    return {
      asked: "not asked",
      isIommufd: true,
      why: "/dev/vfio/vfio is an iommufd, which knows the IOMMU only when a device is open",
    };
  }
  container.attach(group);
  try {
    const { pageSizes, ranges, available } = container.info();
    return { asked: "answered", by: container.kind, pageSizes, ranges, entries: available };
  } finally {
    container.detach(group);
  }
}
