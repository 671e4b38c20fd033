import { type BitFields, rawBits } from "./bit-fields.js";
import type { CommandExecutor } from "./command-queue.js";
import { CFGI_ALL_RANGE, commands, syncSignals } from "./commands.js";
import type { ConfigurationCache } from "./configuration-cache.js";
import type { Counters } from "./counters.js";
import type { SmmuFeatures } from "./features.js";
import type { GlobalErrors } from "./global-errors.js";
import type { Interrupts } from "./interrupts.js";
import type { Invalidation } from "./invalidation.js";
import type { RegisterFile } from "./register-file.js";
import { registers } from "./registers.js";

/** What {@link Commands} needs to carry out commands. */
export interface CommandTargets {
  readonly features: SmmuFeatures;
  readonly registers: RegisterFile;
  readonly configurations: ConfigurationCache;
  readonly invalidation: Invalidation;
  readonly interrupts: Interrupts;
  readonly errors: GlobalErrors;
  readonly counters: Counters;
}

/** Carries out commands (Arm IHI 0070, chapter 4). Everything a command asks for has happened when it is consumed, so CMD_SYNC has nothing to wait for. */
export class Commands implements CommandExecutor {
  readonly #targets: CommandTargets;
  /** A CMD_SYNC whose interrupt comes when it is consumed. */
  #signal: { readonly address: number; readonly data: number } | undefined;

  constructor(targets: CommandTargets) {
    this.#targets = targets;
  }

  execute(words: Uint32Array): boolean {
    const opcode = (words[0] as number) & 0xff;
    // The Non-secure queue has no say in Secure streams.
    if (field(commands.CFGI_STE, "SSec", words) === 1) return false;
    const { invalidation, registers: file, counters } = this.#targets;
    const invalidated = invalidation.execute(opcode, words, file.field(registers.CR2, "E2H") === 1);
    if (invalidated === true) counters.invalidations++;
    return invalidated ?? this.#executeOther(opcode, words);
  }

  consumed(): void {
    const signal = this.#signal;
    if (signal === undefined) return;
    this.#signal = undefined;
    const { interrupts, errors } = this.#targets;
    if (!interrupts.raise("cmdq-sync", signal.address, signal.data)) errors.activate("MSI_CMDQ_ABT_ERR");
  }

  /** RESUME and STALL_TERM are illegal without the stall model, ATC_INV and PRI_RESP without ATS and PRI. */
  #executeOther(opcode: number, words: Uint32Array): boolean {
    switch (opcode) {
      // Hints. Nothing is fetched ahead here: what a device has not used is not cached.
      case commands.PREFETCH_CONFIG.opcode:
      case commands.PREFETCH_ADDR.opcode:
        return true;
      case commands.CFGI_STE.opcode:
      case commands.CFGI_STE_RANGE.opcode:
        return this.#forgetStreams(opcode, words);
      case commands.CFGI_CD.opcode:
      case commands.CFGI_CD_ALL.opcode:
        return this.#forgetContext(opcode, words);
      case commands.SYNC.opcode:
        return this.#synchronize(words);
      default:
        return false;
    }
  }

  #forgetStreams(opcode: number, words: Uint32Array): true {
    const streamId = field(commands.CFGI_STE, "SID", words);
    const range = opcode === commands.CFGI_STE.opcode ? -1 : field(commands.CFGI_STE_RANGE, "Range", words);
    this.#targets.configurations.forgetStreams(range === CFGI_ALL_RANGE ? 0 : streamId, range + 1);
    return true;
  }

  #forgetContext(opcode: number, words: Uint32Array): boolean {
    const { configurations, features } = this.#targets;
    if (!features.stage1) return false;
    const isOther = opcode === commands.CFGI_CD.opcode && field(commands.CFGI_CD, "SSID", words) !== 0;
    // Accesses have no SubstreamID, so that only the CD at index 0 is ever cached.
    if (!isOther) configurations.forgetContext(field(commands.CFGI_CD, "SID", words));
    return true;
  }

  #synchronize(words: Uint32Array): boolean {
    const signal = field(commands.SYNC, "CS", words);
    if (signal > syncSignals.SEV) return false;
    this.#targets.counters.syncs++;
    if (signal === syncSignals.IRQ) {
      const { MSIAddress } = commands.SYNC.fields;
      const address = rawBits(words, MSIAddress) * 2 ** MSIAddress.shift;
      this.#signal = { address, data: field(commands.SYNC, "MSIData", words) };
    }
    return true;
  }
}

function field<F extends BitFields>(command: { readonly fields: F }, name: keyof F, words: Uint32Array): number {
  return rawBits(words, command.fields[name] as F[keyof F]);
}
