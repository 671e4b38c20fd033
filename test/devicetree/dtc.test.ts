import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { decodeBlob } from "../../src/devicetree/blob.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import { formatSource } from "../../src/devicetree/source-writer.js";
import { contents } from "./arbitrary-tree.js";

const hasDtc = spawnSync("dtc", ["--version"]).status === 0;
const chips = fileURLToPath(new URL("../../chips", import.meta.url));

const dtc = (from: "dts" | "dtb", to: "dts" | "dtb", input: string | Uint8Array) =>
  execFileSync("dtc", ["-q", "-I", from, "-O", to], { input, stdio: ["pipe", "pipe", "ignore"], maxBuffer: 2 ** 26 });

/** All that is special about the language, in one file. */
const TRICKY = `/dts-v1/;
/memreserve/ 0x10000000 (4 << 20);
/ {
  cells = <1 0x2 010 'a' '\\n' (-1) (1 + 2 * 3 << 1) (~0 & 0xff) (5 > 3 ? 7 : 8)>, <&{/soc/dev@1} &late>;
  mixed = "text", "more\\t\\"quoted\\"\\x41\\101", [01 02aB], /bits/ 8 <1 2>, /bits/ 16 <0x1234>, /bits/ 64 <(-1) 5>;
  path = &late, "x", &{/soc};
  12; #odd,name+with?all._-;
  soc {
    first: dev@1 { phandle = <3>; a = <1>; b = <2>; };
    /omit-if-no-ref/ unused: dev@2 { };
    /omit-if-no-ref/ used: dev@3 { };
    gone: dev@4 { };
    dev@5 { remove; keep; sub { }; };
  };
};
/ { soc { again = <&used &late &first>; dev@5 { /delete-property/ remove; /delete-node/ sub; }; late: dev@6 { }; }; };
&first { b = "new"; c; nested { }; };
/delete-node/ &gone;
`;

describe.skipIf(!hasDtc)("compared with dtc", () => {
  const sources = new Map([["a tricky source", TRICKY]]);
  for (const name of readdirSync(chips).filter((file) => file.endsWith(".dts"))) {
    sources.set(`chips/${name}`, readFileSync(`${chips}/${name}`, "utf8"));
  }

  it.each([...sources])("reads what dtc reads: %s", (_, source) => {
    const tree = parseSource(source);
    expect(contents(tree)).toEqual(contents(decodeBlob(dtc("dts", "dtb", source))));
    expect(contents(decodeBlob(dtc("dts", "dtb", formatSource(tree))))).toEqual(contents(tree));
    expect(contents(parseSource(dtc("dtb", "dts", encodeBlob(tree)).toString()))).toEqual(contents(tree));
  });
});
