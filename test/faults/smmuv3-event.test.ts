import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readFaults } from "../../src/faults/fault-reader.js";
import { decodeSmmuv3Event, eventFields, smmuv3EventId, smmuv3Events } from "../../src/faults/smmuv3-event.js";
import { decodeEvent, eventIds } from "../../src/sim/hw/smmu/events.js";
import { encodeEvent, rawLines } from "./support/event-log.js";

const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const knownWords = fc
  .tuple(fc.constantFrom(...smmuv3Events.keys()), word, word, word, word)
  .map(([id, first, ...rest]) => [(first & ~0xffn) | BigInt(id), ...rest]);

/** The record as it lies in memory. */
function bytesOf(words: readonly bigint[]): Uint8Array {
  return new Uint8Array(new BigUint64Array(words).buffer);
}

describe("an event record of an SMMUv3", () => {
  it("can be any of the architecture's, by number and by name", () => {
    expect(Object.fromEntries([...smmuv3Events].map(([id, { name }]) => [name, id]))).toEqual(eventIds);
    expect(smmuv3EventId("F_TRANSLATION")).toBe(0x10);
    expect(smmuv3EventId("UNKNOWN")).toBeUndefined();
  });

  it("has each field at a place of its own", () => {
    const taken = new Set<string>();
    for (const { word, low, width } of Object.values(eventFields)) {
      for (let bit = low; bit < low + width; bit++) {
        expect(taken).not.toContain(`${word}:${bit}`);
        taken.add(`${word}:${bit}`);
      }
    }
  });

  it("is read as the simulated SMMU's own decoder reads it, whatever is in it", () => {
    fc.assert(
      fc.property(knownWords, (words) => {
        const event = decodeSmmuv3Event(words);
        const other = decodeEvent(bytesOf(words));
        expect(event).toMatchObject({ id: other.id, name: other.name, streamId: other.streamId });
        expect(event.substreamId).toBe(other.substreamId);
        if (event.access !== undefined) expect(event.access === "read").toBe(other.read);
        if (event.privileged !== undefined) expect(event.privileged).toBe(other.privileged);
        if (event.instruction !== undefined) expect(event.instruction).toBe(other.instruction);
        if (event.stage !== undefined) expect(event.stage).toBe(other.stage);
        if (event.stalled !== undefined) expect(event.stalled).toBe(other.stalled);
        if (event.inputAddress !== undefined) expect(event.inputAddress).toBe(other.inputAddress);
        if (event.intermediateAddress !== undefined)
          expect(event.intermediateAddress).toBe(BigInt(other.intermediateAddress));
        if (event.fetchAddress !== undefined) expect(event.fetchAddress).toBe(BigInt(other.fetchAddress));
      }),
    );
  });

  it("has what was put in", () => {
    const values = fc.record({
      streamId: fc.nat({ max: 0xffff_ffff }),
      substreamId: fc.nat({ max: 0xf_ffff }),
      substreamValid: fc.boolean(),
      read: fc.boolean(),
      privileged: fc.boolean(),
      instruction: fc.boolean(),
      stage2: fc.boolean(),
      stalled: fc.boolean(),
      stallTag: fc.nat({ max: 0xffff }),
      class: fc.constantFrom(0, 1, 2, 3),
      inputAddress: word,
    });
    fc.assert(
      fc.property(values, (fields) => {
        expect(decodeSmmuv3Event(encodeEvent({ id: 0x10, ...fields }))).toMatchObject({
          name: "F_TRANSLATION",
          streamId: fields.streamId,
          substreamId: fields.substreamValid ? fields.substreamId : undefined,
          access: fields.read ? "read" : "write",
          privileged: fields.privileged,
          instruction: fields.instruction,
          stage: fields.stage2 ? 2 : 1,
          stalled: fields.stalled,
          stallTag: fields.stallTag,
          class: ["CD", "TT", "IN", "reserved"][fields.class],
          inputAddress: fields.inputAddress,
        });
      }),
    );
  });

  it("goes through the log unchanged, four doublewords of any bits", () => {
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), (words) => {
        const { faults, notices } = readFaults(rawLines(words));
        expect(faults.map(({ record }) => record)).toEqual([words]);
        expect(faults[0]?.streamId).toBe(Number(words[0] >> 32n));
        expect(notices).toEqual([]);
      }),
    );
  });

  it("has no access and no address where the architecture gives none", () => {
    const ones = 2n ** 64n - 1n;
    const all = (id: number) => decodeSmmuv3Event([(ones & ~0xffn) | BigInt(id), ones, ones, ones]);
    expect(all(0x02)).toMatchObject({ access: undefined, inputAddress: undefined, stage: undefined });
    expect(all(0x03)).toMatchObject({ inputAddress: undefined, fetchAddress: 0xf_ffff_ffff_fff8n });
    expect(all(0x07)).toMatchObject({ access: "read", privileged: undefined, inputAddress: ones });
    expect(all(0x10)).toMatchObject({ fetchAddress: undefined, intermediateAddress: 0xf_ffff_ffff_f000n });
    expect(all(0xee)).toMatchObject({ name: undefined, cause: "unknown", inputAddress: undefined });
  });
});
