import type { IommuDescription, ReservedDescription } from "../description.js";
import type { KernelLog } from "../kernel-log.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { ExtentDomain, type FaultName, type Geometry } from "./extent-domain.js";
import type { Attachable, DmaMaster, Iommu, IommuDomain, Translation } from "./iommu.js";
import type { SmmuEvents } from "./smmu-events.js";

/** 4 KiB, 2 MiB and 1 GiB. */
const DEFAULT_PAGE_SIZES = 0x40201000n;
/** arm-smmu-v3.c, MSI_IOVA_BASE and MSI_IOVA_LENGTH: where the kernel maps the interrupt controller's doorbells. */
const MSI_WINDOW: ReservedDescription = { start: 0x8000000, end: 0x80fffff, type: "msi" };

/** The kernel around an SMMU. */
export interface SmmuKernel {
  readonly profile: Profile;
  readonly log: KernelLog;
  readonly events: SmmuEvents;
}

/** One SMMUv3 and what its driver, arm-smmu-v3.c, does with it; registers and tables in memory left out. */
export class Smmu implements Iommu {
  readonly name: string;
  readonly device: string;
  readonly coherent: boolean;
  readonly operations = "arm_smmu_ops";
  readonly #geometry: Geometry;
  readonly #reserved: readonly ReservedDescription[];
  readonly #kernel: SmmuKernel;
  /** The stream table: what each StreamID's DMA goes through. */
  readonly #streams = new Map<number, Attachable>();

  constructor(description: IommuDescription, index: number, kernel: SmmuKernel) {
    const { stage = 1, inputBits = 48, outputBits = 44 } = description;
    this.name = description.name;
    this.device = description.device ?? `arm-smmu-v3.${index}.auto`;
    this.coherent = description.coherent ?? true;
    this.#geometry = {
      pageSizes: description.pageSizes ?? DEFAULT_PAGE_SIZES,
      stage,
      inputBits: stage === 1 ? inputBits : outputBits,
      outputBits,
    };
    this.#reserved = [MSI_WINDOW, ...(description.reserved ?? [])];
    this.#kernel = kernel;
  }

  allocateDomain(): IommuDomain {
    return new ExtentDomain(this, this.#geometry);
  }

  attach(master: DmaMaster, target: Attachable): void {
    if (typeof target !== "string" && target.iommu !== this) {
      // arm_smmu_attach_dev, "the domain is not ours".
      const { profile, log } = this.#kernel;
      if (profile.foreignAttach === "pretend") return;
      if (profile.foreignAttach === "EINVAL") refuse("EINVAL");
      const upstream = `cannot attach to SMMU ${target.iommu.device} (upstream of ${this.device})`;
      log.device(master.driverName, master.name, upstream);
      refuse("ENXIO");
    }
    this.#streams.set(master.streamId, target);
  }

  reservedRegions(master: DmaMaster): readonly ReservedDescription[] {
    return [...this.#reserved, ...master.reserved].sort((a, b) => a.start - b.start);
  }

  translate(master: DmaMaster, iova: bigint, length: number, write: boolean): Translation | undefined {
    const domain = this.#streams.get(master.streamId) ?? "default";
    // An STE with Config 0 aborts and records nothing.
    if (domain === "blocked") return undefined;
    const answer = this.#walk(domain, iova, write);
    if (typeof answer !== "string") return { ...answer, length: Math.min(answer.length, length) };
    this.#kernel.events.report({
      smmu: this.device,
      fault: answer,
      client: master.name,
      streamId: master.streamId,
      iova,
      write,
      stage: this.#geometry.stage,
    });
    return undefined;
  }

  #walk(domain: Exclude<Attachable, "blocked">, iova: bigint, write: boolean): Translation | FaultName {
    // Nothing of the program's is mapped in the domain of the kernel's DMA API.
    if (domain === "default" || iova >= 2n ** BigInt(this.#geometry.inputBits)) return "F_TRANSLATION";
    if (!(domain instanceof ExtentDomain)) throw new TypeError("a domain of another kind of IOMMU is attached");
    return domain.walk(Number(iova), write);
  }
}
