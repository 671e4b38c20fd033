import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { DEFAULT_CHIP, readChip } from "../../src/cli/chip-file.js";
import { shippedChips } from "../../src/cli/package-files.js";
import { errorOf } from "../support/errors.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-chip-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

describe("a chip file", () => {
  it("is read as it is, whatever its name", () => {
    const { name, content } = readChip(file("a.dtb", Uint8Array.of(0xd0, 0x0d, 0xfe, 0xed, 0, 0xff)));
    expect([name, ...content]).toEqual(["a.dtb", 0xd0, 0x0d, 0xfe, 0xed, 0, 0xff]);
  });

  it("may be one of the package's, by name", () => {
    expect(shippedChips()).toContain(DEFAULT_CHIP);
    for (const name of shippedChips()) {
      expect(readChip(name)).toEqual(readChip(`${name}.dts`));
      expect(readChip(name).name).toBe(`${name}.dts`);
      expect(new TextDecoder().decode(readChip(name).content)).toContain("/dts-v1/");
    }
  });

  it("of the user's goes before the package's", () => {
    const own = file("own.dts", "mine");
    const here = process.cwd();
    process.chdir(folder);
    try {
      writeFileSync("dual-smmu", "mine");
      expect(new TextDecoder().decode(readChip("dual-smmu").content)).toBe("mine");
      expect(readChip(own).name).toBe("own.dts");
    } finally {
      process.chdir(here);
    }
  });

  it.each([
    ["missing.dts", "there is no such file"],
    [folder, "it is not a file"],
    ["/dev/zero", "it is not a file"],
  ])("%s cannot be read", (wanted, why) => {
    const error = errorOf(() => readChip(wanted));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
    expect(error).toHaveProperty("message", `cannot read the device tree ${wanted}: ${why}`);
    expect(error).toHaveProperty("hint", expect.stringContaining("dual-smmu"));
  });
});
