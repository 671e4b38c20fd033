import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseSource, type SourceOptions } from "../../src/devicetree/source.js";
import { formatSource } from "../../src/devicetree/source-writer.js";
import { DeviceTree } from "../../src/devicetree/tree.js";
import { IospanError } from "../../src/errors.js";
import { contents, explore, rawTree } from "./arbitrary-tree.js";
import { refused } from "./refused.js";

const root = (body: string) => parseSource(`/dts-v1/;\n/ {\n${body}\n};\n`).root;
/** The bytes of a property's value, in hexadecimal. */
const bytes = (value: string) => Buffer.from(root(`p = ${value};`).required("p").bytes).toString("hex");
const cell = (expression: string) => root(`p = <${expression}>;`).required("p").cell;

describe("a device tree source", () => {
  it("comes back as it was written", () => {
    fc.assert(
      fc.property(rawTree, (raw) => {
        const tree = new DeviceTree(raw);
        expect(contents(parseSource(formatSource(tree)))).toEqual(contents(tree));
      }),
    );
  });

  it("has nodes, properties, labels, comments and reservations", () => {
    const tree = parseSource(`
      /dts-v1/; /dts-v1/;
      // kept from the kernel
      /memreserve/ 0x80000000 (16 * 1024); here: /memreserve/ 1 2;
      / { /* the board */
        model = "a board";
        soc: bus@0 { empty; cpu: core: cpu@1 { reg = <1>; }; };
      };`);
    expect(tree.root.required("model").text).toBe("a board");
    expect(tree.find("/bus@0")?.required("empty").bytes).toHaveLength(0);
    expect(tree.byLabel("core")).toBe(tree.find("/bus@0/cpu@1"));
    expect(tree.byLabel("cpu")).toBe(tree.byLabel("core"));
    expect(tree.reservations).toEqual([
      { address: 0x8000_0000n, size: 0x4000n },
      { address: 1n, size: 2n },
    ]);
  });

  it.each([
    ["<1 0x2 010 'a' '\\n' (-1)>", "00000001000000020000000800000061" + "0000000a" + "ffffffff"],
    ["<>", ""],
    ["/bits/ 8 <1 (-1) 0xff>", "01ffff"],
    ["/bits/ 16 <0x1234 65535>", "1234ffff"],
    ["/bits/ 64 <0x123456789abcdef0 18446744073709551615UL>", "123456789abcdef0ffffffffffffffff"],
    ['"ab"', "616200"],
    ['"\\a\\b\\t\\n\\v\\f\\r\\"\\\\\\q\\101\\x4a"', "0708090a0b0c0d225c71414a00"],
    ['"é"', "c3a900"],
    ["[01 02 aB]", "0102ab"],
    ["[0102ab]", "0102ab"],
    ["[]", ""],
    ['"a", <1>, [ff], /bits/ 8 <2>, "b", "c"', "610000000001ff0262006300"],
    ["start: <1 middle: 2 last:>, two: three: [01 byte: 02] end:", "00000001000000020102"],
  ])("reads the value %s", (value, expected) => {
    expect(bytes(value)).toBe(expected);
  });

  it.each([
    ["(1 + 2 * 3)", 7],
    ["((1 + 2) * 3)", 9],
    ["(10 - 4 - 3)", 3],
    ["(7 / 2 * 2)", 6],
    ["(7 % 4)", 3],
    ["(1 << 4 >> 1)", 8],
    ["(1 << 64)", 0],
    ["(1 << 3 + 1)", 16],
    ["(6 & 3 | 8 ^ 1)", 11],
    ["(1 || 0 && 0)", 1],
    ["(3 == 3 && 2 != 3)", 1],
    ["(2 < 3 > 0)", 1],
    ["(2 <= 2 && 3 >= 4)", 0],
    ["(0 ? 1 : 2 ? 3 : 4)", 3],
    ["(1 ? 0 ? 5 : 6 : 7)", 6],
    ["(~0 & 0xff)", 255],
    ["(!5 + !0)", 1],
    ["(- - 3)", 3],
    ["(-1 > 1)", 1],
    ["('A' + 1)", 66],
    ["(0xffUL & 0x1FULL)", 31],
  ])("computes %s", (expression, value) => {
    expect(cell(expression)).toBe(value);
  });

  it("refers to nodes by label and by path, before and after they are there", () => {
    const tree = parseSource(
      `/dts-v1/; / {
        a { to = <&b 1 &{/c/d@1} &{/}>; path = &b, "x", &{/c/d@1}; inner = <&c/d@1>; };
        b: b { }; c: c { d@1 { phandle = <1>; }; };
      };`.replace("&c/d@1>", "&{c/d@1}>"),
    );
    const [b, , d, top] = tree.root.child("a")?.required("to").cells ?? [];
    expect(tree.byPhandle(b ?? 0)?.path).toBe("/b");
    expect(tree.byPhandle(d ?? 0)?.path).toBe("/c/d@1");
    expect(tree.byPhandle(top ?? 0)?.path).toBe("/");
    expect(d).toBe(1);
    // Numbers that are taken are not given again.
    expect([b, top]).toEqual([2, 3]);
    expect(tree.find("/a")?.required("path").texts).toEqual(["/b", "x", "/c/d@1"]);
    expect(tree.find("/a")?.required("inner").target.path).toBe("/c/d@1");
    expect(tree.find("/c")?.phandle).toBeUndefined();
  });

  it("extends nodes that are there", () => {
    const tree = parseSource(`/dts-v1/;
      / { a: a { x = <1>; y = <1>; b { }; }; };
      / { z; a { y = <2>; }; };
      again: &a { x; b { c; }; };
      &{/a} { d { }; };
      &again { e { }; };`);
    const a = tree.find("/a");
    expect([...(a?.properties.keys() ?? [])]).toEqual(["x", "y"]);
    expect(a?.required("x").bytes).toHaveLength(0);
    expect(a?.required("y").cell).toBe(2);
    expect(a?.children.map(({ name }) => name)).toEqual(["b", "d", "e"]);
    expect(tree.find("/a/b")?.has("c")).toBe(true);
    expect(tree.root.has("z")).toBe(true);
  });

  it("deletes nodes and properties", () => {
    const tree = parseSource(`/dts-v1/;
      / { a: a { x; y; b { }; l: c { }; }; d: d { }; };
      &a { /delete-property/ x; /delete-node/ b; /delete-property/ none; /delete-node/ none; b { new; }; };
      /delete-node/ &d;
      / { a { /delete-node/ c; }; l: other { }; };`);
    expect([...(tree.find("/a")?.properties.keys() ?? [])]).toEqual(["y"]);
    expect(tree.find("/a/b")?.has("new")).toBe(true);
    expect(tree.find("/a/c")).toBeUndefined();
    expect(tree.find("/d")).toBeUndefined();
    // Its label is free again.
    expect(tree.byLabel("l")?.path).toBe("/other");
  });

  it("leaves out what nobody refers to, where that is asked for", () => {
    const tree = parseSource(`/dts-v1/; / {
        /omit-if-no-ref/ a: a { }; /omit-if-no-ref/ b: b { }; c: c { }; d: d { };
      };
      /omit-if-no-ref/ &c; / { e { to = <&b>; path = &d; }; }; /omit-if-no-ref/ &d;`);
    expect(tree.root.children.map(({ name }) => name)).toEqual(["b", "d", "e"]);
  });

  it("may have names that look like something else", () => {
    const node = root('#size-cells = <1>; if = "x"; a,b+c.d?e_f-g; \\12; @; 12 { }; node@1,0 { };');
    expect(node.child("12")).toBeDefined();
    expect(node.child("node@1,0")?.unitAddress).toBe("1,0");
    expect([...node.properties.keys()]).toEqual(["#size-cells", "if", "a,b+c.d?e_f-g", "12", "@"]);
  });

  it("may have been through cpp", () => {
    const text =
      '# 1 "board.dts"\n# 1 "<built-in>"\n/dts-v1/;\n# 1 "soc.dtsi" 1\n/ { };\n# 7 "board.dts" 2\n/ {\n  x = y;\n};\n';
    expect(refused(() => parseSource(text))).toMatch(/board\.dts:8:7 \(\/\): expected a value.*, found y/);
    expect(parseSource(text.replace("= y", "= <1>")).root.has("x")).toBe(true);
    // Only after nothing but blanks is it a marker.
    expect(refused(() => parseSource('/dts-v1/; \t # 1 "a.dts"'))).toMatch(/found #/);
    expect(refused(() => parseSource('/* */ # 1 "a.dts"\n/dts-v1/;'))).toMatch(/found #/);
    expect(parseSource('\t # 1 "a.dts"\n/dts-v1/; / { };').root.children).toEqual([]);
  });

  it("includes what a resolver gives", () => {
    const files: Readonly<Record<string, string>> = {
      "soc.dtsi": '/dts-v1/; / { soc: soc { /include/ "props.dtsi" }; };',
      "props.dtsi": "a = <1>; b",
    };
    const include = (name: string) => files[name] ?? fail(name);
    const options: SourceOptions = { file: "board.dts", include };
    const tree = parseSource('/dts-v1/; /include/ "soc.dtsi"\n&soc { c; };'.replace("b }", "b; }"), {
      ...options,
      include: (name) => include(name).replace("b", "b;"),
    });
    expect([...(tree.byLabel("soc")?.properties.keys() ?? [])]).toEqual(["a", "b", "c"]);
    const missing = () => parseSource('/dts-v1/;\n/include/ "none.dtsi"\n', options);
    expect(refused(missing)).toMatch(/board\.dts:2:22: \/include\/ "none.dtsi": no file none.dtsi/);
    expect(refused(() => parseSource('/dts-v1/; /include/ "me"', { include: () => '/include/ "me"' }))).toMatch(
      /32 deep/,
    );
  });
});

function fail(name: string): never {
  throw new Error(`no file ${name}`);
}

const mistakes: Readonly<Record<string, readonly [text: string, message: RegExp]>> = {
  "the name of a file": ["chips/dual-smmu.dts", /line 1, column 1: expected \/dts-v1\/; at the beginning, found chips/],
  nothing: ["", /found the end of the file/],
  "no root": ["/dts-v1/;", /there is no root node/],
  "an overlay": ["/dts-v1/; /plugin/; / { };", /an overlay/],
  "a semicolon that is missing": [
    "/dts-v1/;\n/ {\n  a = <1>\n  b;\n};",
    /line 4, column 3 \(\/\): expected ; after the property a, found b/,
  ],
  "a brace that is missing": [
    "/dts-v1/; / { a {",
    /\(\/a\): expected the name of a property or node, or }, found the end/,
  ],
  "a comment without an end": ["/dts-v1/; / { }; /* x", /column 18: a comment has no end/],
  "a word": ["/dts-v1/; / { a = hello; };", /expected a value.*, found hello/],
  "a macro": ["/dts-v1/; / { a { b = <GIC_SPI 1>; }; };", /\(\/a\): GIC_SPI is no number/],
  "a directive": ['/dts-v1/;\n  #include "x.dtsi"\n', /line 2, column 3: #include is for cpp/],
  "a definition": ["/dts-v1/;\n#define X 1\n/ { };", /#define is for cpp/],
  "/include/ without a resolver": ['/dts-v1/; /include/ "x.dtsi"', /there is only this text/],
  "/incbin/": ['/dts-v1/; / { a = /incbin/("x"); };', /incbin/],
  "a number too large": [
    "/dts-v1/; / { a = <0x100000000>; };",
    /column 20 \(\/\): 0x100000000 does not fit into 32 bits/,
  ],
  "a number that is negative and too small": ["/dts-v1/; / { a = /bits/ 8 <(-257)>; };", /does not fit into 8 bits/],
  "a number of more than 64 bits": ["/dts-v1/; / { a = <18446744073709551616>; };", /64 bits/],
  "an octal number with a 9": ["/dts-v1/; / { a = <019>; };", /019 begins as an octal number/],
  "a width that is none": ["/dts-v1/; / { a = /bits/ 12 <1>; };", /\/bits\/ 12 is none of/],
  "a division by zero": ["/dts-v1/; / { a = <(1 / (2 - 2))>; };", /division by zero/],
  "an expression without an end": ["/dts-v1/; / { a = <(1 + >; };", /expected a number, found >/],
  "expressions nested too deep": [`/dts-v1/; / { a = <${"(".repeat(5000)}1`, /more than 100 deep/],
  "choices nested too deep": [`/dts-v1/; / { a = <(${"1 ? 2 : ".repeat(5000)}1`, /more than 100 deep/],
  "two characters": ["/dts-v1/; / { a = <'ab'>; };", /'ab' is not one byte/],
  "half a byte": ["/dts-v1/; / { a = [01 2]; };", /expected two hexadecimal digits or \], found 2/],
  "a label that is nowhere": [
    "/dts-v1/; / {\n  a { b = <&c>; };\n};",
    /line 2, column 12: \/a refers to &c, and there is no such node/,
  ],
  "a path that leads nowhere": ["/dts-v1/; / { a = &{/b}; };", /\/ refers to &\/b/],
  "the extension of a node that is not there": ["/dts-v1/; / { };\n&a { };", /line 2, column 1: there is no node &a/],
  "the deletion of a node that is not there": ["/dts-v1/; / { }; /delete-node/ &a;", /there is no node &a/],
  "the deletion of the root": ["/dts-v1/; / { }; /delete-node/ &{/};", /root cannot be deleted/],
  "a label that is there twice": ["/dts-v1/; / { a: a { }; a: b { }; };", /column 25 .*: the label a is there twice/],
  "a label of a property that a node has": ["/dts-v1/; / { a: x; y { }; a: z { }; };", /label a is there twice/],
  "a label of a value that a property has": ["/dts-v1/; / { a: x = <a: 1>; };", /label a is there twice/],
  "a property that is there twice": ["/dts-v1/; / { a; a = <1>; };", /a is there twice/],
  "a node that is there twice": ["/dts-v1/; / { a { }; a { }; };", /two nodes a/],
  "a property behind a node": ["/dts-v1/; / { a { }; b; };", /b comes behind a node/],
  "a phandle that is no number": ["/dts-v1/; / { a { phandle = <1 2>; }; };", /phandle of \/a is not one number/],
  "a phandle that is there twice": [
    "/dts-v1/; / { a { phandle = <1>; }; b { phandle = <1>; }; };",
    /\/b: has phandle 0x1, which is \/a's already/,
  ],
  "nodes nested too deep": [`/dts-v1/; / { ${"a { ".repeat(2000)}`, /more than 64 deep/],
  "something else at the top": ["/dts-v1/; / { }; x;", /expected \/ { or &label {, found x/],
};

describe("a source with a mistake", () => {
  it.each(Object.entries(mistakes))("is refused, with the place: %s", (_, [text, message]) => {
    expect(refused(() => parseSource(text))).toMatch(message);
  });

  it("never crashes whoever reads it", () => {
    const source = `/dts-v1/; /memreserve/ 1 2; / { #address-cells = <1>; aliases { a = &n; }; soc { ranges = <0 0 0 8>;
      n: node@1 { reg = <(1 + 2 * 3) 'a'>; compatible = "x\\n", [01 ff]; }; /* c */ m { iommus = <&n>; }; }; }; &n { y; };`;
    const snippet = fc.oneof(
      fc.constantFrom("{", "}", "<", ">", "(", ")", ";", "&", "&n", '"', "/*", "//", "#define x\n", ":", "=", "", "\\"),
      fc.string({ maxLength: 3 }),
    );
    const change = fc.tuple(fc.nat(source.length), fc.nat(4), snippet);
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const text = changes.reduce((all, [at, cut, put]) => all.slice(0, at) + put + all.slice(at + cut), source);
        try {
          explore(parseSource(text));
        } catch (error) {
          if (!(error instanceof IospanError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("may be as long as it likes", () => {
    const long = `/dts-v1/; / { a = "${"x".repeat(300_000)}"; b = <${"1 ".repeat(200_000)}>; c = <${"&{/} ".repeat(50_000)}>; };`;
    expect(parseSource(long).root.required("c").cells).toHaveLength(50_000);
    const properties = Array.from({ length: 50_000 }, (_, index) => `#p${index}=<1>;`).join(" ");
    expect(parseSource(`/dts-v1/; / { ${properties} };`).root.properties.size).toBe(50_000);
    expect(refused(() => parseSource(`#${" ".repeat(200_000)}x`))).toMatch(/expected \/dts-v1\//);
    expect(refused(() => parseSource(`/dts-v1/; /* ${"x".repeat(1_000_000)}`))).toMatch(/no end/);
  });
});
