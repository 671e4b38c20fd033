import type { Clock } from "../../hw/clock.js";
import { type KernelLog, RateLimit } from "../kernel-log.js";
import type { Profile } from "../profile.js";
import { type FaultName, faults } from "./extent-domain.js";

/** An access that an SMMU aborted. */
export interface SmmuEvent {
  /** The SMMU's platform device. */
  readonly smmu: string;
  readonly fault: FaultName;
  /** The device that the StreamID belongs to. */
  readonly client: string;
  readonly streamId: number;
  readonly iova: bigint;
  readonly write: boolean;
  readonly stage: 1 | 2;
}

/** Event record fields (Arm IHI 0070, 7.3): CLASS "input address", RnW, S2. */
const CLASS_INPUT = 2n << 40n;
const READ = 1n << 35n;
const STAGE_2 = 1n << 39n;

/** Prints event records as arm-smmu-v3.c does (arm_smmu_dump_raw_event, arm_smmu_dump_event). */
export class SmmuEvents {
  readonly #log: KernelLog;
  readonly #profile: Profile;
  /** One for all SMMUs. */
  readonly #limit: RateLimit;

  constructor(log: KernelLog, profile: Profile, clock: Clock) {
    this.#log = log;
    this.#profile = profile;
    this.#limit = new RateLimit(clock);
  }

  report(event: SmmuEvent): void {
    if (!this.#limit.allow()) return;
    const print = (line: string) => this.#log.device("arm-smmu-v3", event.smmu, line);
    const { id, words } = encode(event);
    print(`event 0x${id.toString(16).padStart(2, "0")} received:`);
    for (const word of words) print(`\t0x${word.toString(16).padStart(16, "0")}`);
    if (this.#profile.decodedEvents) for (const line of decoded(event)) print(line);
  }
}

function encode({ fault, streamId, iova, write, stage }: SmmuEvent): { id: number; words: readonly bigint[] } {
  const id = faults[fault];
  const flags = CLASS_INPUT | (write ? 0n : READ) | (stage === 2 ? STAGE_2 : 0n);
  return { id, words: [(BigInt(streamId) << 32n) | BigInt(id), flags, iova, intermediate(stage, iova)] };
}

/** In stage 2 the input is what stage 1 would have made: the record has its page, too. */
function intermediate(stage: 1 | 2, iova: bigint): bigint {
  return stage === 2 ? iova & 0xf_ffff_ffff_f000n : 0n;
}

function decoded({ fault, client, streamId, iova, write, stage }: SmmuEvent): readonly string[] {
  const hex = (value: number | bigint) => `0x${value.toString(16)}`;
  return [
    `event: ${fault} client: ${client} sid: ${hex(streamId)} ssid: 0x0 iova: ${hex(iova)} ipa: ${hex(intermediate(stage, iova))}`,
    `unpriv data ${write ? "write" : "read"} s${stage} "Input address caused fault" stag: 0x0`,
  ];
}
