import { type BitFields, rawBits } from "./bit-fields.js";
import { commands, granulesByTlbiTg, rangeFields } from "./commands.js";
import type { SmmuFeatures } from "./features.js";
import { LOW_ADDRESS_LIMIT, REGIME_AND_VMID_MASK, REGIME_MASK, regimes, tagOf } from "./regimes.js";
import { ANY, NO_ASID, type Tlb } from "./tlb.js";

const PAGE = 4096;
/** Of the address bits in a command, those that the TLB's addresses have, too: 51 to 12. */
const LOW_PAGE = { low: 76, width: 40 };
/** Address bit 55, counted in the command: which half of the addresses it is in. */
const HALF = { low: 76 + 55 - 12, width: 1 };

const WHOLE = { start: 0, end: LOW_ADDRESS_LIMIT, granuleBits: ANY, level: ANY } as const;

/** The CMD_TLBI_* commands: what each takes out of the TLB (Arm IHI 0070, 4.4). */
export class Invalidation {
  readonly #tlb: Tlb;
  readonly #features: SmmuFeatures;

  constructor(tlb: Tlb, features: SmmuFeatures) {
    this.#tlb = tlb;
    this.#features = features;
  }

  /**
   * @param hypervisorHost CR2.E2H
   * @returns false for an illegal command, undefined when it is no TLBI command
   */
  execute(opcode: number, words: Uint32Array, hypervisorHost: boolean): boolean | undefined {
    const { stage1, stage2, hypervisor } = this.#features;
    switch (opcode) {
      case commands.TLBI_NH_ALL.opcode:
      case commands.TLBI_NH_ASID.opcode:
      case commands.TLBI_NH_VA.opcode:
      case commands.TLBI_NH_VAA.opcode:
        return stage1 && this.#stage1(opcode, words);
      case commands.TLBI_EL2_ALL.opcode:
      case commands.TLBI_EL2_ASID.opcode:
      case commands.TLBI_EL2_VA.opcode:
      case commands.TLBI_EL2_VAA.opcode:
        return stage1 && hypervisor && this.#hypervisor(opcode, words, hypervisorHost);
      case commands.TLBI_S12_VMALL.opcode:
      case commands.TLBI_S2_IPA.opcode:
        return stage2 && this.#stage2(opcode, words);
      case commands.TLBI_NSNH_ALL.opcode:
        this.#drop(regimes.EL1, REGIME_MASK, ANY);
        this.#drop(regimes.STAGE_2, REGIME_MASK, ANY);
        return true;
      default:
        return undefined;
    }
  }

  #stage1(opcode: number, words: Uint32Array): boolean {
    const tag = tagOf(regimes.EL1, this.#vmid(words), 0);
    switch (opcode) {
      case commands.TLBI_NH_ALL.opcode:
        return this.#drop(tag, REGIME_AND_VMID_MASK, ANY);
      case commands.TLBI_NH_ASID.opcode:
        return this.#drop(tag, REGIME_AND_VMID_MASK, field(commands.TLBI_NH_ASID, "ASID", words));
      case commands.TLBI_NH_VA.opcode:
        return this.#dropRange(words, HALF, tag, field(commands.TLBI_NH_VA, "ASID", words));
      default:
        return this.#dropRange(words, HALF, tag, ANY);
    }
  }

  #hypervisor(opcode: number, words: Uint32Array, hypervisorHost: boolean): boolean {
    switch (opcode) {
      case commands.TLBI_EL2_ALL.opcode:
        this.#drop(regimes.EL2, REGIME_MASK, ANY);
        return this.#drop(regimes.EL2_HOST, REGIME_MASK, ANY);
      case commands.TLBI_EL2_ASID.opcode:
        return this.#drop(regimes.EL2_HOST, REGIME_AND_VMID_MASK, field(commands.TLBI_EL2_ASID, "ASID", words));
      case commands.TLBI_EL2_VA.opcode: {
        const asid = hypervisorHost ? field(commands.TLBI_EL2_VA, "ASID", words) : NO_ASID;
        return this.#dropRange(words, HALF, hypervisorHost ? regimes.EL2_HOST : regimes.EL2, asid);
      }
      default:
        return this.#dropRange(words, HALF, hypervisorHost ? regimes.EL2_HOST : regimes.EL2, ANY);
    }
  }

  #stage2(opcode: number, words: Uint32Array): boolean {
    const vmid = this.#vmid(words);
    // Translations of both stages in one stay: they are found by virtual address only (4.4.3.1).
    if (opcode === commands.TLBI_S2_IPA.opcode)
      return this.#dropRange(words, undefined, tagOf(regimes.STAGE_2, vmid, 0), NO_ASID);
    this.#drop(tagOf(regimes.EL1, vmid, 0), REGIME_AND_VMID_MASK, ANY);
    return this.#drop(tagOf(regimes.STAGE_2, vmid, 0), REGIME_AND_VMID_MASK, ANY);
  }

  /** Without stage 2 no translation has a VMID; the command's is reserved. */
  #vmid(words: Uint32Array): number {
    return this.#features.stage2 ? field(commands.TLBI_S12_VMALL, "VMID", words) : 0;
  }

  #drop(tag: number, tagMask: number, asid: number): true {
    this.#tlb.invalidate({ tag, tagMask, asid, withGlobal: false, ...WHOLE });
    return true;
  }

  /** @param halfField where the command says which half of the addresses it means; undefined: there are no halves */
  #dropRange(words: Uint32Array, halfField: typeof HALF | undefined, tag: number, asid: number): boolean {
    const range = this.#rangeOf(words);
    if (range === undefined) return false;
    const half = halfField === undefined ? 0 : rawBits(words, halfField);
    const start = rawBits(words, LOW_PAGE) * PAGE;
    this.#tlb.invalidate({
      tag: tag | tagOf(0, 0, half),
      tagMask: ~0,
      asid,
      withGlobal: true,
      start,
      // The range does not go on from one half of the addresses into the other, nor around their end.
      end: Math.min(start + range.length, LOW_ADDRESS_LIMIT),
      granuleBits: range.granuleBits,
      level: range.level,
    });
    return true;
  }

  /** Undefined for the combination of fields that is illegal (4.4.1.1). */
  #rangeOf(words: Uint32Array): { length: number; granuleBits: number; level: number } | undefined {
    const granule = granulesByTlbiTg[rawBits(words, rangeFields.TG)];
    if (!this.#features.rangeInvalidation || granule === undefined) return { length: 1, granuleBits: ANY, level: ANY };
    const ttl = rawBits(words, rangeFields.TTL);
    // The 16 KiB granule has no blocks at level 1: reserved, taken as no hint.
    const level = ttl === 0 || (ttl === 1 && granule === 16384) ? ANY : ttl;
    const num = rawBits(words, rangeFields.NUM);
    const scale = rawBits(words, rangeFields.SCALE);
    if (num === 0 && scale === 0 && level === ANY) return undefined;
    return { length: (num + 1) * 2 ** scale * granule, granuleBits: Math.log2(granule), level };
  }
}

function field<F extends BitFields>(command: { readonly fields: F }, name: keyof F, words: Uint32Array): number {
  return rawBits(words, command.fields[name] as F[keyof F]);
}
