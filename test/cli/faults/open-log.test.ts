import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import type * as KmsgModule from "../../../src/cli/faults/kmsg.js";
import { capture } from "../support/captured.js";

/** As for a user where dmesg_restrict is set. */
vi.mock("../../../src/cli/faults/kmsg.js", async (original) => ({
  ...(await original<typeof KmsgModule>()),
  openKmsg: () => {
    throw Object.assign(new Error("EPERM: not permitted, open '/dev/kmsg'"), { code: "EPERM", syscall: "open" });
  },
}));

const folder = mkdtempSync(path.join(tmpdir(), "iospan-dmesg-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const FAULT = "DMAR: [DMA Write NO_PASID] Request device [0000:00:02.0] fault addr 0x1000 [fault reason 0x05] x";

/** What `dmesg` is from now on. */
function dmesg(script: string): void {
  const file = path.join(folder, "dmesg");
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  vi.stubEnv("PATH", folder);
}

describe("this machine's log, where /dev/kmsg cannot be read", () => {
  it("is what dmesg prints", async () => {
    dmesg(`test $# = 0 && echo '[    1.000000] ${FAULT}'`);
    const { exitCode, stdout } = await capture(["faults"]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("1 IOMMU fault in dmesg");
  });

  it("is followed as dmesg --follow prints it", async () => {
    dmesg(`test "$1" = --follow && echo '${FAULT}'`);
    const { exitCode, stdout } = await capture(["faults", "--follow"]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("1  0000:00:02.0 wrote to the page 0x1000");
  });

  it.each([
    ["echo 'read kernel buffer failed: Operation not permitted' >&2; exit 1", "Operation not permitted"],
    ["exit 7", "dmesg ended with 7"],
  ])("cannot be read when dmesg cannot either: %s", async (script, why) => {
    dmesg(script);
    const { exitCode, stdout, stderr } = await capture(["faults"]);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr.replace(/\n {7}/g, " ")).toContain(`EPERM: not permitted, open '/dev/kmsg'; `);
    expect(stderr.replace(/\n {7}/g, " ")).toContain(why);
    expect(stderr).toContain("hint:  sudo iospan faults, or: sudo dmesg | iospan faults -");
  });

  it("cannot be read without a dmesg", async () => {
    vi.stubEnv("PATH", path.join(folder, "nowhere"));
    const { exitCode, stdout } = await capture(["faults", "--json"]);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout).error).toMatchObject({
      code: "ERR_IOSPAN_NO_PERMISSION",
      message: expect.stringContaining("spawn dmesg ENOENT"),
    });
  });
});
