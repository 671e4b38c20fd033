import type { Check } from "./check.js";
import { binding } from "./checks/binding.js";
import { coherency } from "./checks/coherency.js";
import { directMapping } from "./checks/direct-mapping.js";
import { dmaEntries } from "./checks/dma-entries.js";
import { driverRefused } from "./checks/driver-refused.js";
import { faults } from "./checks/faults.js";
import { firmware } from "./checks/firmware.js";
import { groupBusy } from "./checks/group-busy.js";
import { groupViable } from "./checks/group-viable.js";
import { hugePages } from "./checks/huge-pages.js";
import { iommuOff } from "./checks/iommu-off.js";
import { iommufd } from "./checks/iommufd.js";
import { memlock } from "./checks/memlock.js";
import { msiIsolation } from "./checks/msi-isolation.js";
import { noReset } from "./checks/no-reset.js";
import { nodePermission } from "./checks/node-permission.js";
import { noiommu } from "./checks/noiommu.js";
import { notTranslated } from "./checks/not-translated.js";
import { pageSize } from "./checks/page-size.js";
import { platformReset } from "./checks/platform-reset.js";
import { reserved } from "./checks/reserved.js";
import { severalIommus } from "./checks/several-iommus.js";
import { silentAttach } from "./checks/silent-attach.js";
import { trial } from "./checks/trial.js";
import { type1 } from "./checks/type1.js";
import { vfioDriver } from "./checks/vfio-driver.js";

/** All there are, in the order in which their findings should be mended: what comes first may be the reason for the rest. */
export const checks: readonly Check[] = [
  iommuOff,
  noiommu,
  notTranslated,
  firmware,
  severalIommus,
  coherency,
  directMapping,
  type1,
  vfioDriver,
  platformReset,
  driverRefused,
  binding,
  groupViable,
  nodePermission,
  groupBusy,
  msiIsolation,
  trial,
  silentAttach,
  memlock,
  dmaEntries,
  reserved,
  pageSize,
  faults,
  iommufd,
  hugePages,
  noReset,
];
