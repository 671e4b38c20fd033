import { describe, expect, it } from "vitest";
import {
  completion,
  completionFlags,
  DESCRIPTOR_SIZE,
  descriptorFlags,
  request,
} from "../../../../src/sim/hw/dual-path-engine/descriptor.js";
import {
  causeMask,
  errorCauses,
  FRAME_SIZE,
  type Register,
  type RegisterField,
  registers,
} from "../../../../src/sim/hw/dual-path-engine/registers.js";

const all: readonly (readonly [string, Register])[] = Object.entries(registers);
const hex = (value: number) => `0x${value.toString(16).padStart(3, "0")}`;

function bitsOf({ bit, bits = 1 }: RegisterField): string {
  return bits === 1 ? `${bit}` : `${bit + bits - 1}:${bit}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function fieldTable(fields: Readonly<Record<string, RegisterField>>): string {
  const rows = Object.entries(fields).map(([name, field]) => [bitsOf(field), name, field.does]);
  return table(["bits", "field", "what it does"], rows);
}

function registerTable(): string {
  const rows = all.map(([name, { offset, width, access, banked, does }]) => {
    return [hex(offset), name, `${width * 8}`, banked === true ? `${access}, banked` : access, does];
  });
  return table(["offset", "register", "bits", "access", "what it does"], rows);
}

function markdown(): string {
  const fields = all.flatMap(([name, { fields: each }]) => {
    return each === undefined ? [] : [`### ${name}\n\n${fieldTable(each)}`];
  });
  const layout = (struct: typeof request | typeof completion) => {
    return table(
      ["offset", "bytes", "field"],
      struct.fields.map(({ offset, size, name }) => [`${offset}`, `${size}`, name]),
    );
  };
  return `${[
    "# Registers of the dual-path engine",
    "Made from `registers.ts` and `descriptor.ts`; `npx vitest run test/sim/hw/dual-path-engine -u` makes it anew.",
    "One DMA engine with two interfaces: a PCIe function (registers in BAR 0) and a platform port (registers in its first\nframe). Both show the same registers of the same engine; banked ones are there once for each. Registers are\nlittle-endian and accessed with 4 bytes, those of 64 bits also with 8.",
    registerTable(),
    ...fields,
    "## Descriptors",
    `A ring of ${DESCRIPTOR_SIZE}-byte descriptors at RING_BASE. The driver writes a request, moves TAIL beyond it, and finds the\ncompletion in its place once HEAD is beyond it. Descriptors are executed one after the other.`,
    "### Request",
    layout(request),
    fieldTable(descriptorFlags),
    "### Completion",
    layout(completion),
    fieldTable(completionFlags),
    "## When bytes move",
    "A job is cut into chunks (STRIPE). With both interfaces they alternate, the first through the function, and both\ninterfaces work at the same time. A chunk's source is read when its read request is sent; its destination is written when\nthe data has crossed the link. The order in which chunks are written is not defined, so source and destination must not\noverlap.",
    "After a fault no further chunk is begun. What was on its way arrives, then the descriptor is completed in error, and the\nengine halts until ERROR_STATUS is cleared.",
    "A reset, by CONTROL or of either interface, gives up what is under way: nothing is written any more, and no descriptor is\ncompleted.",
  ].join("\n\n")}\n`;
}

describe("the register map", () => {
  it("is what REGISTERS.md says", async () => {
    await expect(markdown()).toMatchFileSnapshot("../../../../src/sim/hw/dual-path-engine/REGISTERS.md");
  });

  it("has registers that are aligned, inside the frame and beside each other", () => {
    let end = 0;
    for (const [name, { offset, width }] of all) {
      expect([name, offset % width, offset >= end, offset + width <= FRAME_SIZE]).toEqual([name, 0, true, true]);
      end = offset + width;
    }
  });

  it("has fields that are beside each other and inside the register", () => {
    const groups = [
      ...all.map(([, { width, fields }]) => ({ width, fields })),
      { width: 4, fields: descriptorFlags },
      { width: 4, fields: completionFlags },
    ];
    for (const { width, fields = {} } of groups) {
      let end = 0;
      for (const { bit, bits = 1 } of Object.values<RegisterField>(fields)) {
        expect(bit).toBeGreaterThanOrEqual(end);
        end = bit + bits;
      }
      expect(end).toBeLessThanOrEqual(8 * width);
    }
  });

  it("numbers errors as ERROR_STATUS does", () => {
    expect(errorCauses.map((cause) => causeMask(cause))).toEqual(errorCauses.map((_, index) => 1 << index));
  });

  it("has descriptors of 32 bytes", () => {
    expect([request.size, completion.size]).toEqual([DESCRIPTOR_SIZE, DESCRIPTOR_SIZE]);
    expect(request.offsetOf("flags")).toBe(completion.offsetOf("status"));
  });
});
