import { commands } from "../../hw/smmu/commands.js";
import type { CommandQueue } from "./command-queue.js";
import { type CommandWords, commandWords, newCommand, setField } from "./command-words.js";
import type { SmmuProperties } from "./smmu-properties.js";

/** The most that NUM + 1 of a range command can be (arm-smmu-v3.h, CMDQ_TLBI_RANGE_NUM_MAX). */
const MOST_CHUNKS = 31;
/** log2 of the bytes of an entry. */
const ENTRY_BITS = 3;

const RANGE_FIELDS = ["NUM", "SCALE", "Leaf", "TTL", "TG"] as const;
type RangeField = (typeof RANGE_FIELDS)[number];

/** What an SMMU calls a domain by in its TLB. */
export interface DomainTag {
  readonly stage: 1 | 2;
  /** ASID in stage 1, VMID in stage 2. */
  readonly id: number;
}

/**
 * Makes an SMMU forget translations of one domain. When a method returns, it has
 * (arm-smmu-v3.c, arm_smmu_domain_inv_range and arm_smmu_cmdq_batch_add_range).
 */
export class DomainTlb {
  readonly #queue: CommandQueue;
  readonly #tag: DomainTag;
  /** log2 of the domain's smallest page. */
  readonly #pageBits: number;
  readonly #hasRanges: boolean;

  constructor(queue: CommandQueue, tag: DomainTag, pageBits: number, { rangeInvalidation }: SmmuProperties) {
    this.#queue = queue;
    this.#tag = tag;
    this.#pageBits = pageBits;
    this.#hasRanges = rangeInvalidation;
  }

  /**
   * Pages and blocks of a range are no more.
   * @param granule bytes of each of them
   */
  leaves(iova: number, size: number, granule: number): void {
    this.#invalidate(iova, size, granule, true);
  }

  /** Tables below a range are no more. What level they had does not matter: all of the range is forgotten. */
  tables(iova: number, size: number): void {
    this.#invalidate(iova, size, 2 ** this.#pageBits, false);
  }

  /** The whole domain is no more. */
  all(): void {
    const { stage, id } = this.#tag;
    const words =
      stage === 1 ? commands.TLBI_NH_ASID.encode({ ASID: id }) : commands.TLBI_S12_VMALL.encode({ VMID: id });
    this.#queue.issueAndSync([commandWords(words)]);
  }

  #invalidate(iova: number, size: number, granule: number, leaf: boolean): void {
    if (this.#hasRanges) this.#queue.issueAndSync(this.#ranges(iova, size, granule, leaf));
    else if (this.#isTooMuch(size, granule)) this.all();
    else this.#queue.issueAndSync(this.#pages(iova, size, granule, leaf));
  }

  /** So many commands would take longer than to fetch the whole domain anew. */
  #isTooMuch(size: number, granule: number): boolean {
    return size >= 2 ** (Math.log2(granule) - ENTRY_BITS) * granule;
  }

  #pages(iova: number, size: number, granule: number, leaf: boolean): CommandWords[] {
    const list: CommandWords[] = [];
    for (let at = iova; at < iova + size; at += granule) list.push(this.#encode(at, { Leaf: leaf ? 1 : 0 }));
    return list;
  }

  /** The size in pages, as a sum of up to 31 times a power of two: the smallest first. */
  #ranges(iova: number, size: number, granule: number, leaf: boolean): CommandWords[] {
    const TG = (this.#pageBits - 10) / 2;
    const TTL = leaf ? this.#levelOf(granule) : 0;
    let pages = size / 2 ** this.#pageBits;
    // A command with neither level nor NUM nor SCALE is reserved.
    if (!leaf && pages % (MOST_CHUNKS + 1) === 1) pages += 1;
    const list: CommandWords[] = [];
    for (let at = iova; pages > 0; ) {
      const SCALE = trailingZeros(pages);
      const chunks = (pages / 2 ** SCALE) % (MOST_CHUNKS + 1);
      list.push(this.#encode(at, { Leaf: leaf ? 1 : 0, TG, TTL, SCALE, NUM: chunks - 1 }));
      at += chunks * 2 ** (SCALE + this.#pageBits);
      pages -= chunks * 2 ** SCALE;
    }
    return list;
  }

  #levelOf(granule: number): number {
    return 4 - Math.floor((Math.log2(granule) - ENTRY_BITS) / (this.#pageBits - ENTRY_BITS));
  }

  #encode(address: number, values: Partial<Record<RangeField, number>>): CommandWords {
    const { stage, id } = this.#tag;
    const { TLBI_NH_VA, TLBI_S2_IPA } = commands;
    const command = stage === 1 ? TLBI_NH_VA : TLBI_S2_IPA;
    const words = newCommand(command);
    setField(words, stage === 1 ? TLBI_NH_VA.fields.ASID : TLBI_S2_IPA.fields.VMID, id);
    setField(words, command.fields.Address, address);
    for (const name of RANGE_FIELDS) setField(words, command.fields[name], values[name] ?? 0);
    return words;
  }
}

function trailingZeros(value: number): number {
  let bits = 0;
  for (let rest = value; rest % 2 === 0; rest /= 2) bits += 1;
  return bits;
}
