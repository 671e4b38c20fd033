import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { argsz } from "../../src/abi/fields.js";
import { misfitsOf, valuesOf } from "./arbitrary.js";
import { errorOf } from "./error-of.js";
import { isStruct, loadTables } from "./tables.js";

const { structs } = await loadTables();

describe("every struct of the tables", () => {
  it("has a layout without overlaps", () => {
    expect(structs.length).toBeGreaterThan(70);
    for (const { name, fields, size, align } of structs) {
      let end = 0;
      for (const field of fields) {
        expect(field.offset, `${name}.${field.name}`).toBeGreaterThanOrEqual(end);
        expect(field.offset % field.type.align, `${name}.${field.name}`).toBe(0);
        end = field.offset + field.size;
      }
      expect(size, name).toBeGreaterThanOrEqual(end);
      expect(size % align, name).toBe(0);
    }
  });

  describe.each(structs.map((type) => ({ name: `${type.name} {${type.fields.map(({ name }) => name)}}`, type })))(
    "$name",
    ({ type }) => {
      it("decodes what it encoded, wherever it lies", () => {
        fc.assert(
          fc.property(valuesOf(type), fc.nat(40), fc.nat(40), fc.boolean(), (values, before, at, dirty) => {
            const outer = new Uint8Array(before + at + type.size + 7).fill(dirty ? 0xff : 0);
            const into = outer.subarray(before);
            type.write(into, at, values);
            expect(type.decode(into, at)).toEqual(values);
            expect(into.slice(at, at + type.size)).toEqual(type.encode(values));
            const outside = [...outer.subarray(0, before + at), ...outer.subarray(before + at + type.size)];
            expect(outside.every((byte) => byte === (dirty ? 0xff : 0))).toBe(true);
          }),
        );
      });

      it("encodes what it decoded of any bytes, but for the padding", () => {
        fc.assert(
          fc.property(fc.uint8Array({ minLength: type.size, maxLength: type.size }), (raw) => {
            const values = type.decode(raw);
            const again = type.encode(values);
            expect(type.decode(again)).toEqual(values);
            for (const { offset, size, type: fieldType } of type.fields) {
              // A nested struct has padding of its own.
              if (!isStruct(fieldType))
                expect(again.slice(offset, offset + size)).toEqual(raw.slice(offset, offset + size));
            }
          }),
        );
      });

      it("is zero but for argsz when nothing is given", () => {
        const [first] = type.fields;
        const expected = new Uint8Array(type.size);
        if (first?.type === argsz) new DataView(expected.buffer).setUint32(0, type.size, true);
        expect(type.encode()).toEqual(expected);
      });

      it("refuses what does not fit, by name", () => {
        for (const field of type.fields) {
          for (const value of misfitsOf(field.type)) {
            const error = errorOf(() => type.encode({ [field.name]: value }));
            expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
            expect(error.message).toContain(`${type.name}.${field.name}: `);
          }
        }
      });

      it("refuses every answer that is too short", () => {
        for (let length = 0; length < type.size; length += 1) {
          expect(errorOf(() => type.decode(new Uint8Array(length))).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
        }
        for (const at of [1, -1, 0.5, Number.NaN, 2 ** 40]) {
          expect(errorOf(() => type.decode(new Uint8Array(type.size), at)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
        }
      });

      it("prints every field that is not reserved", () => {
        fc.assert(
          fc.property(valuesOf(type), (values) => {
            const text = type.print(values);
            for (const { name } of type.fields) expect(text).toMatch(/reserved|resv|pad/.test(name) ? /./ : `${name}=`);
          }),
        );
      });
    },
  );
});

describe("src/abi", () => {
  it("needs nothing of Node and nothing outside but the errors and IOVAs, so that it runs in a browser", () => {
    const directory = new URL("../../src/abi/", import.meta.url);
    for (const name of readdirSync(directory)) {
      const source = readFileSync(new URL(name, directory), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
      const imports = [...source.matchAll(/from "([^"]+)"/g)].map(([, path]) => path);
      const foreign = imports.filter((path) => !/^\.\/[a-z0-9-]+\.js$|^\.\.\/(errors|iova)\.js$/.test(path ?? ""));
      expect(foreign, name).toEqual([]);
      expect(source, name).not.toMatch(/\b(Buffer|process|require|globalThis)\b[.(]/);
    }
  });
});
