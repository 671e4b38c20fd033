import { errno } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { hex, type Iova } from "../iova.js";
import { SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import type { DmaMapping } from "../vfio/container.js";
import { mappingRefused } from "../vfio/container-refusals.js";
import { type About, type Meaning, refusal, shortages } from "../vfio/refusal.js";
import type { CopiedMapping, FileMapping, UnplacedMapping } from "./io-mapping.js";

type Meanings = Readonly<Record<number, Meaning>>;

/** Whom an error is about, and a kernel to ask for limits. */
export interface Circumstances {
  readonly about: About;
  readonly syscalls: Syscalls;
}

/** Why IOMMU_IOAS_ALLOC was refused. */
export function ioasRefused(error: unknown, about: About): unknown {
  const refused = { code: "ERR_IOSPAN_SYSCALL", message: "no I/O address space can be made" } as const;
  return refusal(
    error,
    about,
    { ...refused, hint: "the kernel log may say more: dmesg | grep iommufd" },
    shortages(refused),
  );
}

/** Why IOMMU_IOAS_MAP was refused (drivers/iommu/iommufd/ioas.c, io_pagetable.c). */
export function ioasMapRefused(error: unknown, mapping: DmaMapping, { about, syscalls }: Circumstances): unknown {
  return mappingRefused(error, { mapping, about, syscalls, counted: "for all processes of a user together" });
}

/** Why IOMMU_IOAS_MAP found no place of its own choice (drivers/iommu/iommufd/io_pagetable.c, iopt_alloc_iova). */
export function mapAnywhereRefused(error: unknown, wish: UnplacedMapping, circumstances: Circumstances): unknown {
  const what = `${hex(wish.size)} bytes${behind(circumstances.about)}`;
  const unplaceable: Meaning = {
    code: "ERR_IOSPAN_MAP_ALIGNMENT",
    message: `${what} cannot be mapped: address or size are less aligned than the IOMMU's pages, or the size is 0`,
    hint: "align both to the page size; rules() says what mappings are multiples of",
  };
  const none: Meaning = {
    code: "ERR_IOSPAN_NO_IOVA",
    message: `no place is left for ${what} among the IOVAs that are allowed`,
    hint: "allow() a larger range, unmap something, or map with an IOVA of your own",
  };
  const unreachable: Meaning = {
    code: "ERR_IOSPAN_MAP_RANGE",
    message: `the memory for ${what} has physical addresses that the IOMMU cannot output`,
    hint: "use memory at lower physical addresses (another NUMA node, or mem= on the kernel's command line)",
  };
  const own = {
    [errno.EINVAL]: unplaceable,
    [errno.EOVERFLOW]: unplaceable,
    [errno.ENOSPC]: none,
    [errno.ERANGE]: unreachable,
  };
  // What else there is says nothing of an IOVA.
  return explained(error, circumstances, own, { ...wish, iova: 0n as Iova });
}

/** Why IOMMU_IOAS_MAP_FILE was refused (drivers/iommu/iommufd/io_pagetable.c, iopt_map_file_pages; pages.c). */
export function mapFileRefused(error: unknown, mapping: FileMapping, circumstances: Circumstances): unknown {
  const { fd, offset, iova, size, access } = mapping;
  const file = `file descriptor ${fd}`;
  const unmappable = (message: string, hint: string): Meaning => ({ code: "ERR_IOSPAN_MAP_MEMORY", message, hint });
  const own: Meanings = {
    [errno.EINVAL]: unmappable(
      `${hex(size)} bytes at ${hex(offset)} of ${file} cannot be mapped at IOVA ${hex(iova)}: they are beyond its end, it is ` +
        "no memfd, or the IOVA is misaligned or ruled out",
      "map a memfd (memfd_create) or a dma-buf of a VFIO device within its size; rules() says which IOVAs are valid",
    ),
    [errno.EBADF]: unmappable(`${file} is not open`, "keep the file open until it is mapped"),
    [errno.EOPNOTSUPP]: unmappable(
      `${file} is a dma-buf, and its exporter does not tell iommufd where the memory is`,
      "iommufd maps dma-bufs of VFIO PCI devices only (VFIO_DEVICE_FEATURE_DMA_BUF; CONFIG_VFIO_PCI_DMABUF)",
    ),
    [errno.ENODEV]: unmappable(
      `${file} is a dma-buf of a device that cannot give its registers now`,
      "the device must be open, and its memory accesses enabled: export the dma-buf again",
    ),
    [errno.ENOTTY]: {
      code: "ERR_IOSPAN_NOT_SUPPORTED",
      message: "the kernel maps no files for DMA",
      hint: "it takes Linux 6.13 or newer; or map the file's memory by its address in the process",
    },
  };
  return explained(error, circumstances, own, { iova, size, access, address: BigInt(offset) });
}

/** Why IOMMU_IOAS_COPY was refused (drivers/iommu/iommufd/ioas.c; io_pagetable.c, iopt_get_pages). */
export function copyRefused(error: unknown, copied: CopiedMapping, circumstances: Circumstances): unknown {
  const { from, iova, size, access } = copied;
  const source = `${hex(size)} bytes at IOVA ${hex(from)}`;
  const own: Meanings = {
    [errno.ENOENT]: {
      code: "ERR_IOSPAN_MAP_MEMORY",
      message: `${source} of the other address space are not all mapped, or one of the two is gone`,
      hint: "copy what is mapped without holes: isWhole() tells",
    },
    [errno.EPERM]: {
      code: "ERR_IOSPAN_MAP_MEMORY",
      message: `${source} are mapped for reading only, and cannot be copied with access "${access}"`,
      hint: 'copy with access "read", or map the memory writable in the first place',
    },
    [errno.EFAULT]: {
      code: "ERR_IOSPAN_MAP_MEMORY",
      message: `the memory behind ${source} cannot be pinned`,
      hint: "it was unmapped from the process, or made inaccessible, after it had been mapped for DMA",
    },
  };
  return explained(error, circumstances, own, { iova, size, access, address: from });
}

/** Why IOMMU_IOAS_ALLOW_IOVAS was refused: the list that there was is still in force (drivers/iommu/iommufd/ioas.c). */
export function allowRefused(error: unknown, about: About): unknown {
  const refused = { code: "ERR_IOSPAN_MAP_RANGE", message: "the IOVAs to choose from cannot be restricted" } as const;
  return refusal(
    error,
    about,
    { ...refused, hint: "the kernel log may say more: dmesg | grep iommufd" },
    {
      [errno.EADDRINUSE]: {
        ...refused,
        message: `a range to allow has addresses that are ruled out${behind(about)}`,
        hint: "take ranges inside those that rules() gives",
      },
      ...shortages(refused),
    },
  );
}

/** What is still mapped of a range that could not be unmapped: all of it, not all of it, or nobody knows. */
type Leftover = "all" | "in part" | "unknown";

const LEFTOVERS: Readonly<Record<Leftover, string>> = {
  all: "",
  "in part": ", or in part only: not all of them are mapped now",
  unknown: ", or in part only: what is left of them could not be asked",
};

/** Why IOMMU_IOAS_UNMAP was refused (drivers/iommu/iommufd/io_pagetable.c, iopt_unmap_iova_range). */
export function ioasUnmapRefused(
  error: unknown,
  { iova, size }: { readonly iova: bigint; readonly size: bigint },
  about: About,
  left: Leftover = "all",
): unknown {
  const what = `${hex(size)} bytes at IOVA ${hex(iova)}${behind(about)} cannot be unmapped${LEFTOVERS[left]}`;
  const refused = { code: "ERR_IOSPAN_UNMAP_REFUSED", message: what } as const;
  const held: Meaning = {
    ...refused,
    hint: "something else holds them or unmaps there: end that, and unmap again what isMapped() says is left",
  };
  return refusal(
    error,
    about,
    { ...refused, hint: "they must be whole mappings, as they were mapped" },
    { [errno.EBUSY]: held, [errno.EDEADLK]: held },
  );
}

/** Why IOMMU_OPTION was refused for an address space (drivers/iommu/iommufd/io_pagetable.c, iopt_disable_large_pages). */
export function hugePagesRefused(error: unknown, about: About): unknown {
  const refused = { code: "ERR_IOSPAN_BUSY", message: `huge pages cannot be switched${behind(about)}` } as const;
  const hint = "switch them before anything is mapped, or detach all devices first";
  return refusal(error, about, { ...refused, hint });
}

/** Why IOMMU_DESTROY was refused for an address space (drivers/iommu/iommufd/main.c, iommufd_object_remove). */
export function destroyRefused(error: unknown, about: About): unknown {
  const refused = { code: "ERR_IOSPAN_BUSY", message: "the address space cannot be ended" } as const;
  return refusal(
    error,
    about,
    { ...refused, code: "ERR_IOSPAN_SYSCALL", hint: "the kernel log may say more: dmesg | grep iommufd" },
    {
      [errno.EBUSY]: {
        ...refused,
        message: "the address space cannot be ended: page tables are made for it",
        hint: "detach its devices and destroy its page tables first",
      },
      [errno.ENOENT]: { ...refused, code: "ERR_IOSPAN_CLOSED", message: "it has ended", hint: "make a new one" },
    },
  );
}

/** ` behind smmu0`, where there is an IOMMU. */
export function behind({ iommu }: About): string {
  return iommu === undefined || iommu === "" ? "" : ` behind ${iommu}`;
}

/** An address space is asked for something of an iommufd that is not its own. */
export function foreignIommufd(about: About): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "the address spaces belong to different iommufds", {
    ...about,
    hint: "make both with the same Iommufd: only there do they share pins",
  });
}

/** `own` meanings first, then those that mapping memory has in general. */
function explained(error: unknown, { about, syscalls }: Circumstances, own: Meanings, mapping: DmaMapping): unknown {
  const meaning = error instanceof SyscallError ? own[error.errno] : undefined;
  if (meaning !== undefined) return refusal(error, about, meaning);
  return ioasMapRefused(error, mapping, { about, syscalls });
}
