import { hwInfo, IOMMU_GET_HW_INFO, IOMMU_HW_INFO_FLAG } from "../../../abi/iommufd-hw-info.js";
import { hwptAlloc, IOMMU_HWPT, IOMMU_HWPT_ALLOC } from "../../../abi/iommufd-hwpt.js";
import { IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS_OP, vfioIoas } from "../../../abi/iommufd-ioas.js";
import {
  destroy,
  IOMMU_DESTROY,
  IOMMU_OPTION,
  IOMMU_OPTION_ID,
  IOMMU_OPTION_OP,
  option,
} from "../../../abi/iommufd-object.js";
import { refuse } from "../refusal.js";
import type { IommufdContext } from "./context.js";
import { command, type IommufdCall } from "./ioctl-table.js";

const { ALLOC_NEST_PARENT, ALLOC_DIRTY_TRACKING, FAULT_ID_VALID, ALLOC_PASID } = IOMMU_HWPT;
const KNOWN_FLAGS = ALLOC_NEST_PARENT | ALLOC_DIRTY_TRACKING | FAULT_ID_VALID | ALLOC_PASID;

/** The calls on objects of any kind, and on page tables and devices (main.c, hw_pagetable.c, device.c). */
export const objectCalls: readonly IommufdCall[] = [
  command(IOMMU_DESTROY, destroy, "id", ({ context, request }) => context.destroy(request.id)),

  command(IOMMU_HWPT_ALLOC, hwptAlloc, "__reserved", ({ context, request, respond }) => {
    const { flags, data_type, data_len, dev_id, pt_id } = request;
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    if ((data_type === 0) !== (data_len === 0)) refuse("EINVAL");
    const device = context.objects.device(dev_id);
    const parent = context.objects.get(pt_id) ?? refuse("EINVAL");
    if (parent.kind === "device") refuse("EINVAL");
    // arm-smmu-v3 nests in a virtual IOMMU only.
    if (parent.kind === "hwpt") return refuse("EOPNOTSUPP");
    if ((flags & ~KNOWN_FLAGS) !== 0 || data_type !== 0) refuse("EOPNOTSUPP");
    if (flags !== 0) refuse("EOPNOTSUPP", "page tables with flags are not simulated");
    respond({ out_hwpt_id: device.allocateTable(parent).id });
  }),

  command(IOMMU_GET_HW_INFO, hwInfo, "__reserved", ({ context, request, respond }) => {
    if ((request.flags & ~IOMMU_HW_INFO_FLAG.INPUT_TYPE) !== 0) refuse("EOPNOTSUPP");
    if (request.__reserved.some((byte) => byte !== 0)) refuse("EOPNOTSUPP");
    const device = context.objects.device(request.dev_id);
    if (request.flags !== 0) refuse("EOPNOTSUPP", "one type of information is not simulated");
    const { profile, process } = context.kernel;
    const told = profile.smmuTellsHardware ? device.member.iommu.hardwareInfo?.() : NOTHING_TOLD;
    if (told === undefined) return refuse("EOPNOTSUPP", "the simulated IOMMU has no registers to tell of");
    const answer = new Uint8Array(request.data_len);
    answer.set(told.data.subarray(0, request.data_len));
    if (answer.length > 0) process.memory.write(Number(request.data_uptr), answer);
    respond({ data_len: told.data.length, out_data_type: told.type, out_max_pasid_log2: 0, out_capabilities: 0 });
  }),

  command(IOMMU_OPTION, option, "val64", ({ context, request, respond }) => {
    const { option_id, op, object_id, val64 } = request;
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    if (op !== IOMMU_OPTION_OP.SET && op !== IOMMU_OPTION_OP.GET) refuse("EOPNOTSUPP");
    const setting = settingOf(context, option_id, object_id);
    if (op === IOMMU_OPTION_OP.GET) return respond({ val64: setting.get() ? 1 : 0 });
    setting.check?.();
    if (val64 > 1n) refuse("EINVAL");
    setting.set(val64 === 1n);
  }),

  command(IOMMU_VFIO_IOAS, vfioIoas, "__reserved", ({ context, request, respond }) => {
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    switch (request.op) {
      case IOMMU_VFIO_IOAS_OP.GET:
        return respond({ ioas_id: (context.compatibleIoas ?? refuse("ENODEV")).id });
      case IOMMU_VFIO_IOAS_OP.SET:
        context.compatibleIoas = context.objects.ioas(request.ioas_id);
        return;
      case IOMMU_VFIO_IOAS_OP.CLEAR:
        context.compatibleIoas = undefined;
        return;
      default:
        return refuse("EOPNOTSUPP");
    }
  }),
];

/** What a driver without the operation tells (IOMMU_HW_INFO_TYPE_NONE). */
const NOTHING_TOLD = { type: 0, data: new Uint8Array() };

interface Setting {
  get(): boolean;
  /** Whether it may be set now. */
  check?(): void;
  set(on: boolean): void;
}

/** The process is root, which has CAP_SYS_RESOURCE. */
function settingOf(context: IommufdContext, id: number, object: number): Setting {
  switch (id) {
    case IOMMU_OPTION_ID.RLIMIT_MODE:
      if (object !== 0) refuse("EOPNOTSUPP");
      return {
        get: () => context.accounting === "process",
        check: () => {
          if (!context.objects.isEmpty) refuse("EBUSY");
        },
        set: (on) => {
          context.accounting = on ? "process" : "user";
        },
      };
    case IOMMU_OPTION_ID.HUGE_PAGES: {
      const ioas = context.objects.ioas(object);
      return {
        get: () => ioas.largePages,
        set: (on) => {
          ioas.largePages = on;
        },
      };
    }
    default:
      return refuse("EOPNOTSUPP");
  }
}
