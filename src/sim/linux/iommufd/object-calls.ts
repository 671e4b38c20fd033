import { hwInfo, IOMMU_GET_HW_INFO, IOMMU_HW_CAP, IOMMU_HW_INFO_FLAG } from "../../../abi/iommufd-hw-info.js";
import { IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS_OP, vfioIoas } from "../../../abi/iommufd-ioas.js";
import {
  destroy,
  IOMMU_DESTROY,
  IOMMU_OPTION,
  IOMMU_OPTION_ID,
  IOMMU_OPTION_OP,
  option,
} from "../../../abi/iommufd-object.js";
import type { Iommu } from "../iommu/iommu.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import type { IommufdContext } from "./context.js";
import { command, type IommufdCall } from "./ioctl-table.js";

/** The calls on objects of any kind, and on devices (main.c, device.c). */
export const objectCalls: readonly IommufdCall[] = [
  command(IOMMU_DESTROY, destroy, "id", ({ context, request }) => context.destroy(request.id)),

  command(IOMMU_GET_HW_INFO, hwInfo, "__reserved", ({ context, request, respond }) => {
    const { profile, process } = context.kernel;
    const { flags, data_len, data_uptr } = request;
    const byType = (flags & IOMMU_HW_INFO_FLAG.INPUT_TYPE) !== 0;
    const known = profile.hardwareInfoByType ? IOMMU_HW_INFO_FLAG.INPUT_TYPE : 0;
    if ((flags & ~known) !== 0) refuse("EOPNOTSUPP");
    if (request.__reserved.some((byte) => byte !== 0)) refuse("EOPNOTSUPP");
    const { iommu } = context.objects.device(request.dev_id).member;
    const told = profile.smmuTellsHardware ? iommu.hardwareInfo?.() : NOTHING_TOLD;
    if (told === undefined) return refuse("EOPNOTSUPP", "the simulated IOMMU has no registers to tell of");
    // 0 is any type; of others, a driver has its own.
    if (byType && request.out_data_type !== 0 && request.out_data_type !== told.type) refuse("EOPNOTSUPP");
    const answer = new Uint8Array(data_len);
    answer.set(told.data.subarray(0, data_len));
    if (answer.length > 0) process.memory.write(Number(data_uptr), answer);
    const out_capabilities = capabilitiesOf(iommu, profile);
    respond({ data_len: told.data.length, out_data_type: told.type, out_max_pasid_log2: 0, out_capabilities });
  }),

  command(IOMMU_OPTION, option, "val64", ({ context, request, respond }) => {
    const { option_id, op, object_id, val64 } = request;
    if (request.__reserved !== 0) refuse("EOPNOTSUPP");
    const setting = settingOf(context, option_id, object_id);
    if (op !== IOMMU_OPTION_OP.SET && op !== IOMMU_OPTION_OP.GET) refuse("EOPNOTSUPP");
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

/** No device here has ATS. */
function capabilitiesOf({ tracksWrites }: Iommu, { tellsOfAts }: Profile): number {
  const { DIRTY_TRACKING, PCI_ATS_NOT_SUPPORTED } = IOMMU_HW_CAP;
  return (tracksWrites ? DIRTY_TRACKING : 0) | (tellsOfAts ? PCI_ATS_NOT_SUPPORTED : 0);
}

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
