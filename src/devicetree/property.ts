import { deviceTreeError } from "./device-tree-error.js";
import type { TreeNode } from "./node.js";

/** A phandle and the cells that follow it: `<&smmu0 0x42>`. */
export interface Reference {
  readonly node: TreeNode;
  readonly args: readonly number[];
}

const CELL = 4;

/** A property of a node. The readers take its bytes for what the caller says they are, and refuse what cannot be that. */
export class Property {
  readonly node: TreeNode;
  readonly name: string;
  readonly bytes: Uint8Array;

  constructor(node: TreeNode, name: string, bytes: Uint8Array) {
    this.node = node;
    this.name = name;
    this.bytes = bytes;
  }

  /** 32-bit numbers. */
  get cells(): readonly number[] {
    const { bytes } = this;
    if (bytes.length % CELL !== 0) this.fail(`has ${bytes.length} bytes, which are no whole 32-bit cells`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return Array.from({ length: bytes.length / CELL }, (_, index) => view.getUint32(index * CELL));
  }

  /** The only cell. */
  get cell(): number {
    const [cell, ...more] = this.cells;
    return cell === undefined || more.length > 0 ? this.fail("should be one 32-bit cell") : cell;
  }

  /** A number of one or two cells. */
  get u64(): bigint {
    const { cells } = this;
    return cells.length === 1 || cells.length === 2 ? wide(cells) : this.fail("should be one number of 32 or 64 bits");
  }

  /** Strings, each of which ends with a NUL. */
  get texts(): readonly string[] {
    const { bytes } = this;
    if (bytes.length === 0) return [];
    if (bytes.at(-1) !== 0) this.fail("should be text, and does not end with a NUL");
    return new TextDecoder().decode(bytes.subarray(0, -1)).split("\0");
  }

  /** The only string. */
  get text(): string {
    const [text, ...more] = this.texts;
    return text === undefined || more.length > 0 ? this.fail("should be one string") : text;
  }

  /** The node that the only cell is the phandle of. */
  get target(): TreeNode {
    return this.#target(this.cell);
  }

  /** Nodes by phandle, as in `memory-region`. */
  get targets(): readonly TreeNode[] {
    return this.cells.map((cell) => this.#target(cell));
  }

  /**
   * Phandles with arguments, as in `iommus`. How many cells follow a phandle is up to the node it names.
   * @param cellsName the property in which that node says so, `#iommu-cells`
   */
  references(cellsName: string): readonly Reference[] {
    const { cells } = this;
    const found: Reference[] = [];
    for (let at = 0; at < cells.length; ) {
      const node = this.#target(cells[at] ?? 0);
      const count = node.property(cellsName)?.cell;
      if (count === undefined) return this.fail(`refers to ${node.path}, which has no ${cellsName}`);
      const args = cells.slice(at + 1, at + 1 + count);
      if (args.length < count) {
        return this.fail(`ends after ${args.length} of the ${count} cells that follow ${node.path} (its ${cellsName})`);
      }
      found.push({ node, args });
      at += 1 + count;
    }
    return found;
  }

  /**
   * A table of numbers, as in `reg` and `ranges`.
   * @param widths how many cells each number of a row has, 0 to 4
   */
  rows(widths: readonly number[]): readonly (readonly bigint[])[] {
    const width = widths.reduce((sum, each) => sum + each, 0);
    const { cells } = this;
    if (width === 0 ? cells.length > 0 : cells.length % width !== 0) {
      this.fail(`has ${cells.length} cells, which are no whole rows of ${widths.join(" + ")} cells`);
    }
    const rows: bigint[][] = [];
    for (let at = 0; at < cells.length; at += width) {
      let end = at;
      rows.push(
        widths.map((each) => {
          end += each;
          return wide(cells.slice(end - each, end));
        }),
      );
    }
    return rows;
  }

  /** @throws IospanError `ERR_IOSPAN_DEVICE_TREE` that names the property. */
  fail(problem: string, hint = `correct ${this.name} of that node`): never {
    throw deviceTreeError(this.node.path, `${this.name} ${problem}`, hint);
  }

  #target(phandle: number): TreeNode {
    const node = this.node.tree.byPhandle(phandle);
    return node ?? this.fail(`refers to phandle ${hex(phandle)}, which no node has`);
  }
}

/** Cells, the most significant first. */
function wide(cells: readonly number[]): bigint {
  return cells.reduce((value, cell) => (value << 32n) | BigInt(cell), 0n);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
