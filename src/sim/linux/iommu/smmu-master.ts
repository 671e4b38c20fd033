import { commands } from "../../hw/smmu/commands.js";
import { contextDescriptor } from "../../hw/smmu/context-descriptor.js";
import type { CoherentMemory, SharedMemory } from "./coherent-memory.js";
import type { CommandQueue } from "./command-queue.js";
import { commandWords } from "./command-words.js";
import { writeEntry } from "./entry-writer.js";
import type { DmaMaster } from "./iommu.js";
import type { SmmuDomain } from "./smmu-domain.js";
import {
  ABORT_ENTRY,
  contextEntry,
  contextEntryKind,
  stage1Entry,
  stage2Entry,
  streamEntryKind,
} from "./stream-entries.js";

const NO_CONTEXT: readonly bigint[] = new Array<bigint>(contextDescriptor.size / 8).fill(0n);

/** What {@link SmmuMaster} needs of its SMMU. */
export interface MasterParts {
  readonly device: DmaMaster;
  /** Its stream table entry. */
  readonly entry: BigUint64Array;
  readonly memory: CoherentMemory;
  readonly queue: CommandQueue;
}

/** A device behind an SMMU, with its stream table entry and its context descriptor: the driver's `struct arm_smmu_master`. */
export class SmmuMaster {
  readonly device: DmaMaster;
  readonly #parts: MasterParts;
  #context: SharedMemory | undefined;
  #domain: SmmuDomain | undefined;

  constructor(parts: MasterParts) {
    this.device = parts.device;
    this.#parts = parts;
  }

  /** Sends its DMA through a domain (arm_smmu_attach_dev). Refuses with ENOMEM. */
  attach(domain: SmmuDomain): void {
    if (domain.tag.stage === 1) {
      const context = this.#allocateContext();
      this.#writeContext(context, contextEntry(domain));
      this.#writeEntry(stage1Entry(context.address));
    } else {
      this.#writeEntry(stage2Entry(domain));
    }
    this.#moveTo(domain);
  }

  /** Aborts its DMA (arm_smmu_attach_dev_blocked). */
  block(): void {
    this.#writeEntry(ABORT_ENTRY);
    this.#moveTo(undefined);
    if (this.#context !== undefined) this.#writeContext(this.#context, NO_CONTEXT);
  }

  #moveTo(domain: SmmuDomain | undefined): void {
    const old = this.#domain;
    domain?.entered();
    this.#domain = domain;
    old?.left();
  }

  #allocateContext(): SharedMemory {
    this.#context ??= this.#parts.memory.allocate(contextDescriptor.size);
    return this.#context;
  }

  #writeEntry(target: readonly bigint[]): void {
    const { entry, queue, device } = this.#parts;
    const command = commandWords(commands.CFGI_STE.encode({ SID: device.streamId, Leaf: 1 }));
    writeEntry(entry, target, streamEntryKind, () => queue.issueAndSync([command]));
    queue.issue(commandWords(commands.PREFETCH_CONFIG.encode({ SID: device.streamId })));
  }

  #writeContext({ words }: SharedMemory, target: readonly bigint[]): void {
    const { queue, device } = this.#parts;
    const command = commandWords(commands.CFGI_CD.encode({ SID: device.streamId, Leaf: 1 }));
    writeEntry(words, target, contextEntryKind, () => queue.issueAndSync([command]));
  }
}
