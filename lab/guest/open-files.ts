import { type Machine, SyscallError } from "iospan";

/** What this process has open of VFIO and iommufd, and eventfds of the library's: sorted, for comparing before and after. */
export function openVfioFiles({ syscalls }: Machine): readonly string[] {
  const targets: string[] = [];
  for (const fd of syscalls.readDirectory("/proc/self/fd")) {
    try {
      targets.push(syscalls.readLink(`/proc/self/fd/${fd}`));
    } catch (error) {
      // The descriptor with which the directory was read is gone by now.
      if (!(error instanceof SyscallError)) throw error;
    }
  }
  return targets.filter((target) => /vfio|iommu|eventfd|memfd/.test(target)).sort();
}
