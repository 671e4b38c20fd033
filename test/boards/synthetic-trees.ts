import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";

/** A tree that was written for the tests, or an example chip. */
export interface SyntheticTree {
  readonly name: string;
  readonly blob: Uint8Array;
}

/** Trees that are like boards that are sold, each in the one respect that matters. */
export const syntheticTrees: readonly SyntheticTree[] = treesIn("./trees");
export const exampleChips: readonly SyntheticTree[] = treesIn("../../chips");

function treesIn(folder: string): readonly SyntheticTree[] {
  const place = fileURLToPath(new URL(folder, import.meta.url));
  const files = readdirSync(place).filter((name) => name.endsWith(".dts"));
  return files.sort().map((file) => {
    const text = readFileSync(`${place}/${file}`, "utf8");
    return { name: file.slice(0, -".dts".length), blob: encodeBlob(parseSource(text, { file })) };
  });
}
