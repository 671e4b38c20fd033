import { eventFields } from "../../../src/faults/smmuv3-event.js";

/** Values of fields of an event record, from the table that the decoder reads by; those not given are 0. */
export type EventValues = Partial<Record<keyof typeof eventFields, bigint | number | boolean>>;

/** An event record with these fields. */
export function encodeEvent(values: EventValues): readonly bigint[] {
  const words = [0n, 0n, 0n, 0n];
  for (const [name, value] of Object.entries(values)) {
    const { word, low, width } = eventFields[name as keyof typeof eventFields];
    words[word]! |= BigInt.asUintN(width, BigInt(value)) << BigInt(low);
  }
  return words;
}

/** What arm_smmu_dump_raw_event prints of a record. */
export function rawLines(words: readonly bigint[], smmu = "arm-smmu-v3.0.auto"): readonly string[] {
  const id = Number((words[0] ?? 0n) & 0xffn);
  return [
    `arm-smmu-v3 ${smmu}: event 0x${id.toString(16).padStart(2, "0")} received:`,
    ...words.map((word) => `arm-smmu-v3 ${smmu}: \t0x${word.toString(16).padStart(16, "0")}`),
  ];
}
