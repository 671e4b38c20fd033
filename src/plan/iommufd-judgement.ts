import { isBefore } from "../machine/kernel-release.js";
import { smallestPageSize } from "../space/iova-ranges.js";
import type { KernelFacts } from "../survey/survey.js";
import { judgeSilentAttach } from "./containers-judgement.js";
import { judgeIsolation } from "./isolation.js";
import { allOf, type Judgement, no, unknown, yes } from "./judgement.js";
import { answeredInfo, pageProviso } from "./limits.js";
import type { Situation } from "./situation.js";
import type { Subject } from "./subject.js";
import { isOnVfio } from "./survey-index.js";

/** Whether one I/O address space of an iommufd takes all devices. */
export function judgeIommufd(situation: Situation): Judgement {
  return allOf(
    yes(`one address space with a page table per IOMMU, and memory pinned once${pageProviso(situation)}`),
    judgeBinding(situation),
    judgeSilentAttach(situation, situation.index),
  );
}

/** Whether each device can be bound to an iommufd and attached to something of its own. */
export function judgeBinding({ index, subjects }: Situation): Judgement {
  const { kernel } = index;
  if (kernel === undefined) {
    return unknown("it takes /dev/iommu and /dev/vfio/devices (Linux 6.6, built with both); ls /dev/iommu there tells");
  }
  const each = subjects.flatMap((subject) => [
    judgeCdev(subject, kernel),
    judgeIsolation(subject, "iommufd", index),
    judgePages(subject, kernel),
  ]);
  return allOf(judgeNode(kernel), ...each);
}

function judgeNode({ vfio: { nodes, modules }, release }: KernelFacts): Judgement {
  if (nodes?.has("/dev/iommu") === true) return yes("there is /dev/iommu");
  if (isBefore(release, 6, 2) === true) return no(`Linux ${release} has no iommufd (6.2)`);
  // Where VFIO is built with iommufd, loading it loads iommufd.
  if (modules.vfio === true && modules.iommufd === false) return no("this kernel was built without iommufd");
  if (nodes !== undefined && modules.iommufd === true) return no("there is no /dev/iommu");
  return unknown("whether this kernel has iommufd, modprobe iommufd and ls /dev/iommu tell");
}

/** The device's own node: Linux 6.6, built with CONFIG_VFIO_DEVICE_CDEV. */
function judgeCdev({ device, facts }: Subject, { vfio: { nodes }, release }: KernelFacts): Judgement | undefined {
  const node = facts?.vfioDevice === undefined ? undefined : `/dev/vfio/devices/${facts.vfioDevice}`;
  if (node !== undefined && nodes?.has(node) === true) return undefined;
  if (isBefore(release, 6, 6) === true) {
    return no(`Linux ${release} has no character devices for VFIO's devices (/dev/vfio/devices, 6.6)`);
  }
  if (nodes !== undefined && isOnVfio(device) && facts !== undefined) {
    return no(
      `${device.name} has no node in /dev/vfio/devices: the kernel was built without (CONFIG_VFIO_DEVICE_CDEV)`,
    );
  }
  const others = [...(nodes?.keys() ?? [])].some((path) => path.startsWith("/dev/vfio/devices/"));
  if (others) return undefined;
  return unknown(`whether ${device.name} gets a node in /dev/vfio/devices, binding it to VFIO tells`);
}

/** It takes no IOMMU whose smallest pages are larger than the processor's (iommufd/io_pagetable.c, iopt_table_add_domain). */
function judgePages(subject: Subject, { pageSize }: KernelFacts): Judgement | undefined {
  const info = answeredInfo(subject);
  const smallest = info === undefined ? undefined : smallestPageSize(info.pageSizes);
  if (smallest === undefined || pageSize === undefined || smallest <= pageSize) return undefined;
  return no(
    `the smallest pages of ${subject.iommus[0]?.name ?? subject.device.name} have ${smallest} bytes, the processor's ${pageSize}, and an iommufd takes none larger`,
  );
}
