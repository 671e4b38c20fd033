import fc from "fast-check";
import type { TreeNode } from "../../src/devicetree/node.js";
import { NAME_PATTERN, type RawNode, type RawTree } from "../../src/devicetree/raw-tree.js";
import type { DeviceTree } from "../../src/devicetree/tree.js";

const name = fc.oneof(
  fc.stringMatching(/^[\w,.+*#?@-]{1,12}$/),
  fc.constantFrom("reg", "#address-cells", "#if", "9030000", "dma-port@9030000", "if", "0", "ranges"),
);

/** Values as they are found in trees: numbers, text, bytes, nothing. */
const value = fc.oneof(
  fc.uint8Array({ maxLength: 24 }),
  fc
    .array(fc.constantFrom("okay", "", 'a "quoted" one', "tab\tnewline\n\\", "é"), { minLength: 1, maxLength: 3 })
    .map(text),
  fc.array(fc.nat(0xffff_ffff), { maxLength: 6 }).map(cells),
);

const properties = fc.uniqueArray(fc.tuple(name, value), { maxLength: 5, selector: ([key]) => key });

function node(depth: number): fc.Arbitrary<Omit<RawNode, "name">> {
  const children: fc.Arbitrary<RawNode[]> =
    depth === 0
      ? fc.constant([])
      : fc
          .uniqueArray(fc.tuple(name, node(depth - 1)), { maxLength: 3, selector: ([key]) => key })
          .map((list) => list.map(([childName, rest]) => ({ name: childName, ...rest })));
  return fc.record({ properties: properties.map((list) => new Map(list)), children });
}

const u64 = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });

/** Trees of up to four levels, with memory reservations. */
export const rawTree: fc.Arbitrary<RawTree> = fc
  .record({
    root: node(3),
    reservations: fc.array(fc.record({ address: u64, size: u64 }), { maxLength: 3 }),
    bootCpu: fc.nat(0xffff_ffff),
  })
  .map(({ root, ...rest }) => ({ root: { name: "", ...root }, ...rest }));

/** What a tree holds, to be compared. */
export function contents(tree: DeviceTree): unknown {
  return { reservations: tree.reservations, root: nodeContents(tree.root) };
}

function nodeContents(node: TreeNode): unknown {
  return {
    name: node.name,
    properties: Array.from(node.properties.values(), ({ name: key, bytes }) => [key, [...bytes]]),
    children: node.children.map(nodeContents),
  };
}

/** Bytes of 32-bit numbers. */
export function cells(numbers: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * numbers.length));
  for (const [index, number] of numbers.entries()) view.setUint32(4 * index, number);
  return new Uint8Array(view.buffer);
}

/** Bytes of strings, each with a NUL. */
export function text(strings: readonly string[]): Uint8Array {
  return new TextEncoder().encode(strings.map((each) => `${each}\0`).join(""));
}

/** Looks at everything there is to look at; what is malformed there is refused, too. */
export function explore(tree: DeviceTree): void {
  for (const each of tree.nodes()) {
    if (each.parent !== undefined && !NAME_PATTERN.test(each.name)) throw new TypeError(each.name);
    for (const look of [
      () => each.cpuAddresses,
      () => each.compatible,
      () => each.isEnabled,
      () => tree.find(each.path),
    ]) {
      try {
        look();
      } catch (error) {
        if (!(error instanceof Error && error.name === "IospanError")) throw error;
      }
    }
  }
}
