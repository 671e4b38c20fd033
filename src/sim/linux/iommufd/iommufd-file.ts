import { IOMMU_FAULT_QUEUE_ALLOC } from "../../../abi/iommufd-fault.js";
import { IOMMU_HWPT_INVALIDATE } from "../../../abi/iommufd-hwpt.js";
import { IOMMU_IOAS_NOIOMMU_GET_PA } from "../../../abi/iommufd-ioas.js";
import {
  IOMMU_HW_QUEUE_ALLOC,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VIOMMU_ALLOC,
} from "../../../abi/iommufd-viommu.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { OpenFile } from "../files/open-file.js";
import { userBytes } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import type { IommufdContext } from "./context.js";
import { ioasCalls } from "./ioas-calls.js";
import { sizeOf } from "./ioctl-table.js";
import { objectCalls } from "./object-calls.js";
import { pageTableCalls } from "./page-table-calls.js";
import { vfioCompatIoctl } from "./vfio-compat.js";

const CALLS = new Map([...ioasCalls, ...objectCalls, ...pageTableCalls].map((each) => [each.call.request, each]));

/** Calls that Linux knows and the simulation does not, by number. */
const NOT_SIMULATED = new Map(
  [
    IOMMU_HWPT_INVALIDATE,
    IOMMU_FAULT_QUEUE_ALLOC,
    IOMMU_VIOMMU_ALLOC,
    IOMMU_VDEVICE_ALLOC,
    IOMMU_VEVENTQ_ALLOC,
    IOMMU_HW_QUEUE_ALLOC,
    IOMMU_IOAS_NOIOMMU_GET_PA,
  ].map(({ request, name }) => [request, name]),
);

/** IOMMUFD_CMD_BASE. */
const FIRST_CALL = 0x80;

/** An open `/dev/iommu`. Devices that are bound to it, and groups that it is a container of, keep it after its descriptor is closed. */
export class IommufdFile extends OpenFile {
  readonly path: string;
  readonly context: IommufdContext;

  /** @param path the node's: the kernel may offer it as `/dev/vfio/vfio`, too */
  constructor(context: IommufdContext, path: string) {
    super();
    this.path = path;
    this.context = context;
  }

  /** iommufd_fops_ioctl. */
  override ioctl(request: number, argument: IoctlArgument): number {
    const number = request & 0xff;
    const { lastIommufdCall } = this.context.kernel.profile;
    if (number < FIRST_CALL || number > lastIommufdCall) return vfioCompatIoctl(this.context, request, argument);
    sizeOf(userBytes(argument));
    const missing = NOT_SIMULATED.get(request);
    if (missing !== undefined) return refuse("EOPNOTSUPP", `${missing} is not simulated`);
    const call = CALLS.get(request) ?? refuse("ENOTTY");
    return call.run(this.context, argument);
  }

  protected release(): void {
    this.context.release();
  }
}
