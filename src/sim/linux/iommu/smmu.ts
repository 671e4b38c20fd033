import { IospanError } from "../../../errors.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import type { SmmuInterrupt, SmmuV3 } from "../../hw/smmu/smmu.js";
import type { IommuDescription, ReservedDescription } from "../description.js";
import type { KernelLog } from "../kernel-log.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { CoherentMemory } from "./coherent-memory.js";
import { CommandQueue } from "./command-queue.js";
import { type DomainTag, DomainTlb } from "./domain-tlb.js";
import { EventQueue } from "./event-queue.js";
import { handleGlobalErrors } from "./global-errors.js";
import { IdAllocator } from "./id-allocator.js";
import type { Attachable, DmaMaster, DomainRequest, Iommu, IommuDomain } from "./iommu.js";
import { type DomainBugs, SmmuDomain } from "./smmu-domain.js";
import type { SmmuEvents } from "./smmu-events.js";
import { DEFAULT_PAGE_SIZES } from "./smmu-hardware.js";
import { smmuInfo } from "./smmu-info.js";
import { SmmuMaster } from "./smmu-master.js";
import { readProperties, type SmmuProperties } from "./smmu-properties.js";
import { resetSmmu } from "./smmu-reset.js";
import { MOST_TABLE_BITS, StreamTable } from "./stream-table.js";
import { type TableGeometry, tableGeometry } from "./table-geometry.js";

/** arm-smmu-v3.c, MSI_IOVA_BASE and MSI_IOVA_LENGTH: where the kernel maps the interrupt controller's doorbells. */
const MSI_WINDOW: ReservedDescription = { start: 0x8000000, end: 0x80fffff, type: "msi" };
/** Bits of the processor's virtual addresses, which stage 1 does not exceed (VA_BITS). */
const PROCESSOR_BITS = 48;

/** The kernel around an SMMU. */
export interface SmmuKernel {
  readonly profile: Profile;
  readonly log: KernelLog;
  readonly events: SmmuEvents;
  readonly physical: PhysicalMemory;
  /** One pool for all SMMUs. */
  readonly asids: IdAllocator;
}

const PLAIN: DomainRequest = { nestParent: false, dirtyTracking: false, pasid: false };

/** What the kernel does wrong with this SMMU. */
export interface SmmuBugs extends DomainBugs {
  readonly attachesNowhere: boolean;
}

/** The driver of one SMMUv3: arm-smmu-v3.c. */
export class Smmu implements Iommu {
  readonly name: string;
  readonly device: string;
  readonly coherent: boolean;
  readonly operations = "arm_smmu_ops";
  readonly msiWindow: ReservedDescription = MSI_WINDOW;
  readonly hardware: SmmuV3;
  readonly #kernel: SmmuKernel;
  readonly #bugs: SmmuBugs;
  readonly #reserved: readonly ReservedDescription[];
  readonly #properties: SmmuProperties;
  readonly #geometry: TableGeometry;
  readonly #memory: CoherentMemory;
  readonly #commands: CommandQueue;
  readonly #events: EventQueue;
  readonly #streams: StreamTable;
  readonly #vmids = new IdAllocator();
  /** By StreamID. */
  readonly #masters = new Map<number, SmmuMaster>();

  /** Probes the SMMU and takes it into service. Refuses with ENOMEM. */
  constructor(description: IommuDescription, index: number, hardware: SmmuV3, kernel: SmmuKernel, bugs: SmmuBugs) {
    this.name = description.name;
    this.device = description.device ?? `arm-smmu-v3.${index}.auto`;
    // Firmware says so, and it wins over the ID register.
    this.coherent = description.coherent ?? true;
    this.hardware = hardware;
    this.#kernel = kernel;
    this.#bugs = bugs;
    this.#reserved = [MSI_WINDOW, ...(description.reserved ?? [])];
    this.#properties = readProperties(hardware);
    this.#geometry = geometryOf(description, this.#properties, kernel.physical.pageSize);
    this.#memory = new CoherentMemory(kernel.physical, this.#geometry.outputBits);
    this.#commands = new CommandQueue(hardware, this.#memory, this.#properties.commandQueueLog2);
    this.#events = new EventQueue(hardware, this.#memory, this.#properties.eventQueueLog2);
    this.#streams = new StreamTable(this.#memory, this.#properties);
    resetSmmu(hardware, { streams: this.#streams, commandQueue: this.#commands, eventQueue: this.#events });
  }

  /** A wire of the SMMU. Completion of CMD_SYNC is polled for. */
  interrupt(line: SmmuInterrupt): void {
    if (line === "gerror") handleGlobalErrors(this.hardware, this.#commands, (message) => this.#print(message));
    if (line !== "eventq") return;
    this.#events.drain({
      event: (record) => this.#kernel.events.report(this.device, record, (id) => this.#masters.get(id)?.device.name),
      overflow: () => this.#print("EVTQ overflow detected -- events lost"),
    });
  }

  probe(master: DmaMaster): boolean {
    const { streamId, name } = master;
    if (!this.#streams.covers(streamId)) throw noSuchStream(this.name, this.#properties.streamIdBits, master);
    const other = this.#masters.get(streamId);
    if (other !== undefined) {
      const from = `Aliasing StreamID 0x${streamId.toString(16)} (from ${other.device.name})`;
      this.#kernel.log.device(master.bus, name, `${from} unsupported, expect DMA to be broken`);
      return false;
    }
    const entry = this.#streams.entry(streamId);
    const parts = { device: master, entry, memory: this.#memory, queue: this.#commands };
    this.#masters.set(streamId, new SmmuMaster(parts));
    return true;
  }

  /** arm_smmu_dbm_capable. */
  get tracksWrites(): boolean {
    return this.#properties.marksWrites && this.coherent && this.#kernel.profile.smmuTracksWrites;
  }

  /** arm_smmu_domain_alloc_paging_flags. */
  allocateDomain(_master?: DmaMaster, request: DomainRequest = PLAIN): IommuDomain {
    this.#requireSupported(request);
    const tag = this.#allocateTag();
    const tlb = new DomainTlb(this.#commands, tag, this.#geometry.pageBits, this.#properties);
    const freed = () => this.#idsOf(tag.stage).free(tag.id);
    const { log, profile } = this.#kernel;
    const { invalidatesWhenUsed } = profile;
    try {
      const parts = { geometry: this.#geometry, memory: this.#memory, bugs: this.#bugs, invalidatesWhenUsed };
      const { dirtyTracking } = request;
      return new SmmuDomain({ ...parts, iommu: this, tlb, tag, log, freed, dirtyTracking });
    } catch (error) {
      freed();
      throw error;
    }
  }

  attach(master: DmaMaster, target: Attachable): void {
    const own = this.#masters.get(master.streamId);
    if (own?.device !== master) throw new Error(`${master.name} is not known to ${this.name}`);
    if (target === "blocked") own.block();
    else if (target instanceof SmmuDomain && target.iommu === this) own.attach(target);
    else this.#attachForeign(master, target);
  }

  reservedRegions(master: DmaMaster): readonly ReservedDescription[] {
    return [...this.#reserved, ...master.reserved].sort((a, b) => a.start - b.start);
  }

  hardwareInfo(): ReturnType<typeof smmuInfo> {
    return smmuInfo(this.hardware);
  }

  #requireSupported({ nestParent, dirtyTracking, pasid }: DomainRequest): void {
    const { stage1, stage2 } = this.#properties;
    // Nesting takes both stages, and excludes all else.
    if (nestParent && (dirtyTracking || pasid || !stage1 || !stage2)) refuse("EOPNOTSUPP");
    if (nestParent) refuse("EOPNOTSUPP", "an SMMU with both stages is not simulated");
    if ((dirtyTracking || pasid) && !stage1) refuse("EOPNOTSUPP");
  }

  /** A domain of another SMMU (arm_smmu_attach_dev). */
  #attachForeign(master: DmaMaster, target: IommuDomain): void {
    const { profile, log } = this.#kernel;
    if (this.#bugs.attachesNowhere || profile.foreignAttach === "pretend") return;
    if (profile.foreignAttach === "EINVAL") refuse("EINVAL");
    const upstream = `cannot attach to SMMU ${target.iommu.device} (upstream of ${this.device})`;
    log.device(master.driverName, master.name, upstream);
    refuse("ENXIO");
  }

  /** arm_smmu_domain_finalise_s1, arm_smmu_domain_finalise_s2. */
  #allocateTag(): DomainTag {
    const { stage } = this.#geometry;
    const { asidBits, vmidBits } = this.#properties;
    const id = this.#idsOf(stage).allocate(2 ** (stage === 1 ? asidBits : vmidBits) - 1);
    return { stage, id: id ?? refuse(stage === 1 ? "EBUSY" : "ENOSPC") };
  }

  #idsOf(stage: 1 | 2): IdAllocator {
    return stage === 1 ? this.#kernel.asids : this.#vmids;
  }

  #print(message: string): void {
    this.#kernel.log.device("arm-smmu-v3", this.device, message);
  }
}

/** Stage 1 where there is one (arm_smmu_domain_finalise). */
function geometryOf(description: IommuDescription, properties: SmmuProperties, cpuPageSize: number): TableGeometry {
  const { pageSizes = DEFAULT_PAGE_SIZES, inputBits = PROCESSOR_BITS } = description;
  const { stage1, outputBits } = properties;
  return tableGeometry({
    stage: stage1 ? 1 : 2,
    pageSizes: properties.pageSizes.filter((size) => (pageSizes & BigInt(size)) !== 0n),
    cpuPageSize,
    inputBits: stage1 ? Math.min(properties.inputBits, PROCESSOR_BITS, inputBits) : outputBits,
    outputBits,
  });
}

function noSuchStream(iommu: string, bits: number, { name, streamId }: DmaMaster): IospanError {
  const covered = Math.min(bits, MOST_TABLE_BITS);
  const limit =
    covered < bits ? `Linux's stream table for ${iommu} covers ${covered}` : `StreamIDs of ${iommu} have ${bits}`;
  const below = `give the device a StreamID below 0x${(2 ** covered).toString(16)}`;
  const message = `${name} has StreamID 0x${streamId.toString(16)}, and ${limit} bits`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    device: name,
    iommu,
    hint: covered < bits ? below : `${below}, or the IOMMU more streamIdBits`,
  });
}
