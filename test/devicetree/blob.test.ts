import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeBlob } from "../../src/devicetree/blob.js";
import { HEADER, TOKEN } from "../../src/devicetree/blob-format.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { readDeviceTree } from "../../src/devicetree/device-tree.js";
import type { RawNode } from "../../src/devicetree/raw-tree.js";
import { parseSource } from "../../src/devicetree/source.js";
import { DeviceTree } from "../../src/devicetree/tree.js";
import { IospanError } from "../../src/errors.js";
import { cells, contents, explore, rawTree } from "./arbitrary-tree.js";
import { refused } from "./refused.js";

const { BEGIN_NODE, END_NODE, PROP, NOP, END } = TOKEN;
/** The strings block. */
const STRINGS = [...new TextEncoder().encode("reg\0linux,phandle\0")];
const NAMES = { reg: 0, phandle: 4 } as const;

interface Parts {
  readonly version?: number;
  readonly compatibleWith?: number;
  readonly headerSize?: number;
  readonly structure: readonly number[];
  readonly reservations?: readonly number[];
  readonly header?: Partial<Record<keyof typeof HEADER, number>>;
  readonly trailing?: number;
}

/** A blob put together by hand: `structure` and `reservations` are 32-bit words. */
function blob({ version = 17, compatibleWith = 16, structure, ...rest }: Parts): Uint8Array {
  const { headerSize = 40, reservations = [0, 0, 0, 0], header = {}, trailing = 0 } = rest;
  const structAt = headerSize + 4 * reservations.length;
  const stringsAt = structAt + 4 * structure.length;
  const total = stringsAt + STRINGS.length;
  const bytes = new Uint8Array(total + trailing).fill(0xa5, total);
  const view = new DataView(bytes.buffer);
  const fields = {
    magic: 0xd00dfeed,
    totalsize: total,
    off_dt_struct: structAt,
    off_dt_strings: stringsAt,
    off_mem_rsvmap: headerSize,
    version,
    last_comp_version: compatibleWith,
    boot_cpuid_phys: 3,
    size_dt_strings: STRINGS.length,
    size_dt_struct: 4 * structure.length,
    ...header,
  };
  for (const [name, at] of Object.entries(HEADER)) {
    if (at < headerSize) view.setUint32(at, fields[name as keyof typeof HEADER]);
  }
  bytes.set(cells(reservations), headerSize);
  bytes.set(cells(structure), structAt);
  bytes.set(STRINGS, stringsAt);
  return bytes;
}

/** A name of up to three letters, with its NUL, as a word. */
const named = (name: string) =>
  [...name.padEnd(4, "\0")].reduce((word, letter) => word * 256 + letter.charCodeAt(0), 0);
const ROOT = [BEGIN_NODE, 0];
const EMPTY = [...ROOT, END_NODE, END];

describe("a blob", () => {
  it("comes back as it was written", () => {
    fc.assert(
      fc.property(rawTree, (raw) => {
        const tree = new DeviceTree(raw);
        const again = decodeBlob(encodeBlob(tree));
        expect(contents(again)).toEqual(contents(tree));
        expect(again.bootCpu).toBe(raw.bootCpu);
      }),
    );
  });

  it("is told from a source by its first bytes", () => {
    const source = '/dts-v1/; / { model = "a"; };';
    const tree = parseSource(source);
    for (const input of [source, new TextEncoder().encode(source), encodeBlob(tree)]) {
      expect(contents(readDeviceTree(input))).toEqual(contents(tree));
    }
  });

  it("is what bytes that are no text should have been", () => {
    expect(refused(() => readDeviceTree(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0)))).toMatch(/begin with 0xd00dfeed/);
  });

  it("has properties, nodes, reservations and the CPU that boots", () => {
    const tree = decodeBlob(
      blob({
        structure: [...ROOT, PROP, 4, NAMES.reg, 7, BEGIN_NODE, named("a"), END_NODE, END_NODE, END],
        reservations: [1, 2, 0, 0x1000, 0, 0, 0, 0],
      }),
    );
    expect(tree.root.required("reg").cell).toBe(7);
    expect(tree.find("/a")?.name).toBe("a");
    expect(tree.reservations).toEqual([{ address: 0x1_0000_0002n, size: 0x1000n }]);
    expect(tree.bootCpu).toBe(3);
  });

  it("may be of version 16, or of a later one that readers of version 17 understand", () => {
    for (const parts of [
      { version: 16, headerSize: 36 + 4, header: { size_dt_struct: 0xffff_ffff } },
      { version: 18, compatibleWith: 17 },
    ]) {
      expect(decodeBlob(blob({ structure: EMPTY, ...parts })).root.path).toBe("/");
    }
  });

  it("may have NOPs anywhere between tokens, and anything behind its end", () => {
    const structure = [
      NOP,
      ...ROOT,
      NOP,
      PROP,
      0,
      NAMES.reg,
      NOP,
      BEGIN_NODE,
      named("a"),
      NOP,
      END_NODE,
      NOP,
      END_NODE,
    ];
    const tree = decodeBlob(blob({ structure: [...structure, NOP, END, 0x55], trailing: 9 }));
    expect(tree.root.has("reg")).toBe(true);
    expect(tree.root.child("a")).toBeDefined();
  });

  it("may name phandles as old ones do", () => {
    const structure = [...ROOT, BEGIN_NODE, named("a"), PROP, 4, NAMES.phandle, 9, END_NODE, END_NODE, END];
    expect(decodeBlob(blob({ structure })).byPhandle(9)?.path).toBe("/a");
  });

  it("need not begin where its buffer does", () => {
    const bytes = blob({ structure: EMPTY });
    const buffer = new Uint8Array(bytes.length + 3);
    buffer.set(bytes, 3);
    expect(decodeBlob(buffer.subarray(3)).root.path).toBe("/");
  });
});

const deep = Array.from({ length: 200 }, () => [BEGIN_NODE, named("a")]).flat();

const malformed: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
  "other bytes": [new Uint8Array(64), /byte 0x0 .*0xd00dfeed/],
  nothing: [new Uint8Array(0), /0xd00dfeed/],
  "a header that is cut off": [blob({ structure: EMPTY }).subarray(0, 20), /cut off after 20 bytes/],
  "a body that is cut off": [blob({ structure: EMPTY }).subarray(0, 70), /should have \d+ bytes and has 70/],
  "a size less than the header": [blob({ structure: EMPTY, header: { totalsize: 39 } }), /39 bytes/],
  "version 3": [blob({ structure: EMPTY, version: 3, compatibleWith: 1 }), /byte 0x14 .*version 3/],
  "a version of the future": [blob({ structure: EMPTY, version: 20, compatibleWith: 20 }), /version 20/],
  "a structure block in the header": [blob({ structure: EMPTY, header: { off_dt_struct: 16 } }), /byte 0x8 /],
  "a structure block that is not aligned": [
    blob({ structure: EMPTY, header: { off_dt_struct: 58, size_dt_struct: 8 } }),
    /multiple of 4/,
  ],
  "a structure block beyond the end": [
    blob({ structure: EMPTY, header: { size_dt_struct: 4000 } }),
    /not inside the blob/,
  ],
  "a strings block beyond the end": [blob({ structure: EMPTY, header: { off_dt_strings: 0xffff_fff0 } }), /byte 0xc /],
  "reservations without an end": [blob({ structure: EMPTY, header: { off_mem_rsvmap: 64 } }), /no end/],
  "no root": [blob({ structure: [END] }), /does not begin with a node/],
  "a root with a name": [blob({ structure: [BEGIN_NODE, named("a"), END_NODE, END] }), /root has a name/],
  "two roots": [blob({ structure: [...ROOT, END_NODE, ...EMPTY] }), /behind the root/],
  "no end": [blob({ structure: [...ROOT, END_NODE] }), /cut off/],
  "an end inside a node": [blob({ structure: [...ROOT, BEGIN_NODE, named("a"), END] }), /\/a has no end/],
  "a token that is none": [blob({ structure: [...ROOT, 77] }), /77 is no token/],
  "a node without a name": [
    blob({ structure: [...ROOT, BEGIN_NODE, 0, END_NODE, END_NODE, END] }),
    /"" in \/ is no name/,
  ],
  "a node's name with a slash": [
    blob({ structure: [...ROOT, BEGIN_NODE, named("a/b"), END_NODE, END_NODE, END] }),
    /a\/b/,
  ],
  "a node's name without an end": [blob({ structure: [BEGIN_NODE, 0x41414141] }), /name has no end/],
  "two nodes of a name": [
    blob({ structure: [...ROOT, BEGIN_NODE, named("a"), END_NODE, BEGIN_NODE, named("a"), END_NODE, END_NODE, END] }),
    /two nodes a/,
  ],
  "nodes nested too deep": [blob({ structure: [...ROOT, ...deep] }), /more than 64 deep/],
  "a property too long": [
    blob({ structure: [...ROOT, PROP, 0xffff_ffff, NAMES.reg, 0, END_NODE, END] }),
    /reg of \/ reaches/,
  ],
  "a property without a name": [blob({ structure: [...ROOT, PROP, 0, 4000, END_NODE, END] }), /strings block/],
  "a property of an empty name": [blob({ structure: [...ROOT, PROP, 0, 3, END_NODE, END] }), /"" in \/ is no name/],
  "a property twice": [blob({ structure: [...ROOT, PROP, 0, 0, PROP, 0, 0, END_NODE, END] }), /has reg twice/],
  "a property behind a node": [
    blob({ structure: [...ROOT, BEGIN_NODE, named("a"), END_NODE, PROP, 0, 0, END_NODE, END] }),
    /reg of \/ comes behind a node/,
  ],
};

describe("a malformed blob", () => {
  it.each(Object.entries(malformed))("is refused: %s", (_, [bytes, message]) => {
    expect(refused(() => decodeBlob(bytes))).toMatch(message);
  });

  it("never crashes whoever reads it", () => {
    const source = `/dts-v1/; /memreserve/ 1 2; / { #address-cells = <1>; aliases { a = &n; }; soc { ranges = <0 0 0 8>;
      n: node@1 { reg = <1 2>; status = "okay"; compatible = "x", "y"; }; m { iommus = <&n>; }; }; };`;
    const bytes = encodeBlob(parseSource(source));
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 2, 3, 4, 9, 255)));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(bytes.length), (changes, length) => {
        const mutated = length < 32 ? bytes.slice(0, bytes.length - length) : bytes.slice();
        for (const [at, byte] of changes) mutated[at] = byte;
        try {
          explore(decodeBlob(mutated));
        } catch (error) {
          if (!(error instanceof IospanError)) throw error;
        }
      }),
      { numRuns: 5000 },
    );
  });
});

describe("a tree that is written", () => {
  it("has every name once in the strings block", () => {
    const reg = new Map([["reg", cells([1])]]);
    const root: RawNode = { name: "", properties: reg, children: [{ name: "a", properties: reg, children: [] }] };
    const bytes = encodeBlob(new DeviceTree({ root, reservations: [], bootCpu: 0 }));
    expect(new DataView(bytes.buffer).getUint32(HEADER.size_dt_strings)).toBe("reg\0".length);
  });
});
