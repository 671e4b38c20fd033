import { IospanError } from "../../errors.js";
import { isBefore } from "../../machine/kernel-release.js";
import { readAttribute } from "../../machine/sysfs.js";
import { SyscallError, type Syscalls } from "../../syscalls/syscalls.js";
import { PerKernel } from "../../vfio/per-kernel.js";
import type { StrategyName } from "./strategy.js";

// Linux 6.14 to 6.15.2 answers success to attaching a device to the domain of another SMMUv3, and does not attach it
// (drivers/iommu/arm/arm-smmu-v3, broken by 48e7b8e284e5, mended by be5a2d3f8f97). In one container or iommufd everything
// seems to work then, and the second device's DMA is blocked without a word. A distribution may have either commit in any
// release. An iommufd tells by its answers, a container does not: there the release has to do.

/** A device that joins others. */
interface Joining {
  readonly strategy: StrategyName;
  readonly device: string;
  readonly iommu: string;
  /** The IOMMUs of those that are there. */
  readonly others: readonly string[];
}

/** Newer kernels also refuse one domain for two SMMUs, aloud. */
const MIRRORED = 'open the space with { strategy: "mirrored" }';

/** Whether a kernel's answers gave it away, whatever release it says it is. */
const caught: PerKernel<{ isCaught: boolean }> = new PerKernel(() => ({ isCaught: false }));

/** Where a kernel says which release it is; /proc may not be there, or not be readable, in a sandbox. */
const RELEASE_FILES = [
  { path: "/proc/sys/kernel/osrelease", pattern: /^(\d+\.\d+\S*)/ },
  { path: "/proc/version", pattern: /^Linux version (\d+\.\d+\S*)/ },
] as const;

interface Release {
  /** Undefined where it is not known. */
  readonly name: string | undefined;
  /** Why it is not, as far as there is a reason. */
  readonly cause?: unknown;
}

/**
 * To be asked before a device joins a container, which shows nothing of the domains it makes.
 * @throws IospanError `ERR_IOSPAN_ATTACH_REFUSED` where the device would join the others without effect, or may: where the
 * kernel's release cannot be told.
 */
export function refuseSilentAttach(syscalls: Syscalls, joining: Joining): void {
  if (foreignSmmus(joining).length === 0) return;
  const release = releaseOf(syscalls);
  if (caught.of(syscalls).isCaught) throw silent(release.name, "would say", joining);
  if (release.name === undefined) throw unknownRelease(joining, release.cause);
  if (attachesNowhere(release.name)) throw silent(release.name, "would say", joining);
}

/**
 * To be asked when an iommufd has attached a device: `others` are behind the page table that it says the device uses now.
 * An SMMUv3's page table serves no other SMMUv3 (arm-smmu-v3.c, arm_smmu_attach_dev), so that answer is the regression.
 * Other drivers have page tables that several IOMMUs use, and are believed. Should SMMUs come to share theirs, this refuses
 * more than it has to, and `auto` takes containers of their own.
 * @throws IospanError `ERR_IOSPAN_ATTACH_REFUSED` where the device joined the others without effect.
 */
export function requireEffect(syscalls: Syscalls, joining: Joining): void {
  if (foreignSmmus(joining).length === 0) return;
  caught.of(syscalls).isCaught = true;
  throw silent(releaseOf(syscalls).name, "says", joining);
}

function foreignSmmus({ iommu, others }: Joining): readonly string[] {
  return isSmmu(iommu) ? others.filter((other) => isSmmu(other) && other !== iommu) : [];
}

/** As arm-smmu-v3.c names them, arm_smmu_device_probe: smmu3. and where their registers are. */
function isSmmu(iommu: string): boolean {
  return iommu.startsWith("smmu3.");
}

function silent(release: string | undefined, says: string, { strategy, device, iommu, others }: Joining): IospanError {
  const blocks = says === "says" ? "blocks" : "block";
  const kernel = release === undefined ? "the kernel" : `Linux ${release}`;
  return new IospanError(
    "ERR_IOSPAN_ATTACH_REFUSED",
    `${kernel} ${says} that ${device} joined the devices behind ${listed(others)}, and ${blocks} its DMA`,
    { device, iommu, hint: strategy === "single-domain" ? MIRRORED : `${MIRRORED}, or use Linux 6.15.3 or newer` },
  );
}

function unknownRelease({ device, iommu, others }: Joining, cause: unknown): IospanError {
  const files = RELEASE_FILES.map(({ path }) => path).join(" nor ");
  const { errno, syscall } = cause instanceof IospanError || cause instanceof SyscallError ? cause : {};
  return new IospanError(
    "ERR_IOSPAN_ATTACH_REFUSED",
    `${device} may not join the devices behind ${listed(others)} in one container: neither ${files} says which Linux this is, and ` +
      "6.14 to 6.15.2 would block its DMA without a word",
    { device, iommu, errno, syscall, cause, hint: `${MIRRORED}, or make /proc readable for the program` },
  );
}

function listed(others: readonly string[]): string {
  return [...new Set(others)].join(", ");
}

function releaseOf(syscalls: Syscalls): Release {
  let cause: unknown;
  for (const { path, pattern } of RELEASE_FILES) {
    try {
      const [, name] = pattern.exec(readAttribute({ syscalls }, path) ?? "") ?? [];
      if (name !== undefined) return { name };
    } catch (error) {
      cause ??= error;
    }
  }
  return { name: undefined, cause };
}

/**
 * Whether a release, `6.14.0`, is one of those that attach a device to the domain of another SMMUv3 without effect, see above.
 * @internal
 */
export function attachesNowhere(release: string): boolean {
  return isBefore(release, 6, 14) === false && isBefore(release, 6, 15, 3) === true;
}
