import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { DRIVERS, driverOf } from "../../boards/independent/drivers.js";
import { kindOfCompatible } from "../../src/topology/iommu-kind.js";

const folder = fileURLToPath(new URL("../../boards/independent", import.meta.url));

describe("the independent reading", () => {
  it.each(readdirSync(folder))("shares nothing with what it checks: %s", (file) => {
    const text = readFileSync(`${folder}/${file}`, "utf8");
    const imported = Array.from(text.matchAll(/from "([^"]+)"/g), ([, from]) => from);
    expect(imported.filter((from) => !/^\.\/[\w-]+\.js$/.test(from ?? ""))).toEqual([]);
  });

  it("has each compatible string in one driver", () => {
    const all = DRIVERS.flatMap(({ compatible }) => compatible);
    expect(new Set(all).size).toBe(all.length);
    expect(driverOf(["acme,iommu"])).toBeUndefined();
  });

  it("and the topology tell the same drivers apart", () => {
    const kinds = DRIVERS.map(({ compatible }) => new Set(compatible.map((each) => kindOfCompatible([each]))));
    expect(kinds.map(({ size }) => size)).toEqual(DRIVERS.map(() => 1));
    expect(new Set(kinds.flatMap((each) => [...each])).size).toBe(DRIVERS.length);
  });
});
