import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { Cache } from "../../lab/cache.js";
import { checkBuilder } from "../../lab/custom-kernel.js";
import { Host, LabError } from "../../lab/host.js";
import { openWorkshop } from "../../lab/workshop.js";

afterEach(() => {
  vi.unstubAllEnvs();
});

it.each(["a folder", "a:folder"])(
  "refuses to compile in %j, which the kernel's Makefile does not take",
  async (name) => {
    const folder = mkdtempSync(join(tmpdir(), "iospan-lab-test-"));
    try {
      vi.stubEnv("IOSPAN_LAB_CACHE", join(folder, name));
      const shop = openWorkshop(new Host(new AbortController().signal), await Cache.open(), false);
      const refusal = checkBuilder(shop);
      await expect(refusal).rejects.toBeInstanceOf(LabError);
      await expect(refusal).rejects.toThrow(/space or a colon.*\n.*IOSPAN_LAB_CACHE/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
