import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { SyscallError, type Syscalls } from "../../src/syscalls/syscalls.js";
import { traced } from "../../src/syscalls/traced.js";
import { EDUS, leftOf, NOTHING, open, planOf, withIommufd } from "../support/edu-spaces.js";
import { errorFrom } from "../support/errors.js";

const OSRELEASE = "/proc/sys/kernel/osrelease";

/** With what these files of /proc say: a text, or how reading is refused. */
function withProc(inner: Syscalls, files: Readonly<Record<string, string | "EACCES" | "ENOENT">>): Syscalls {
  return intercepted(inner, (call, proceed) => {
    const text = call.name === "read-file" ? files[call.path ?? ""] : undefined;
    if (text === undefined) return proceed();
    if (text === "EACCES" || text === "ENOENT") throw new SyscallError("openat", errno[text], text);
    return text as ReturnType<typeof proceed>;
  });
}

const version = (release: string) => `Linux version ${release} (root@build) (gcc 14.2.0) #1 SMP PREEMPT\n`;

describe("a kernel of unknown release", () => {
  it.each([
    ["without /proc", { [OSRELEASE]: "ENOENT", "/proc/version": "ENOENT" }],
    ["where /proc may not be read", { [OSRELEASE]: "EACCES", "/proc/version": "EACCES" }],
    ["that gives none", { [OSRELEASE]: "vendor\n", "/proc/version": "" }],
  ] as const)("shares no container over SMMUs, %s; mirrored works", async (_, files) => {
    const kernel = machineOne({ release: "6.14.0" });
    const syscalls = withProc(kernel, files);
    const error = await errorFrom(open(syscalls, "shared-container"));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", device: EDUS[1] });
    expect(error.message).toContain("/proc/version");
    expect(error.hint).toMatch(/mirrored.*\/proc/);
    expect(leftOf(kernel)).toEqual(NOTHING);
    const { strategy, plan } = await planOf(syscalls);
    expect(strategy).toBe("mirrored");
    expect(plan[1]?.reason).toContain("6.14 to 6.15.2");
    expect((await planOf(syscalls, "mirrored")).strategy).toBe("mirrored");
  });

  it("says why it is not known", async () => {
    const syscalls = withProc(machineOne(), { [OSRELEASE]: "EACCES", "/proc/version": "EACCES" });
    const { cause } = await errorFrom(open(syscalls, "shared-container"));
    expect(cause).toBeInstanceOf(IospanError);
    expect(cause).toMatchObject({ code: "ERR_IOSPAN_NO_PERMISSION", message: expect.stringContaining(OSRELEASE) });
  });

  it("shares containers behind one SMMU", async () => {
    const { devices, iommus } = machineOneDescription();
    const [first] = iommus;
    const kernel = machineOne({ devices: devices.map((each) => ({ ...each, iommu: first!.name })) });
    const syscalls = withProc(kernel, { [OSRELEASE]: "ENOENT" });
    expect((await planOf(syscalls, "shared-container")).strategy).toBe("shared-container");
  });

  it.each(["ENOENT", "EACCES"] as const)("is refused for what its iommufd says, not for %s", async (answer) => {
    const syscalls = withProc(withIommufd({ bugs: { attachesNowhere: true } }), {
      [OSRELEASE]: answer,
      "/proc/version": answer,
    });
    for (const strategy of ["iommufd", "single-domain"] as const) {
      const error = await errorFrom(open(syscalls, strategy));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", device: EDUS[1] });
      expect(error.message).toMatch(/^the kernel says that .*, and blocks its DMA$/);
    }
  });
});

describe("a kernel's release", () => {
  it.each([
    ["6.14.3-arch1-1", "mirrored"],
    ["6.15.2", "mirrored"],
    ["6.15.3", "shared-container"],
    ["7.3.4", "shared-container"],
  ] as const)("is known from either file of /proc: %s", async (release, strategy) => {
    const files = { [OSRELEASE]: "EACCES", "/proc/version": version(release) } as const;
    const { strategy: chosen, plan } = await planOf(withProc(machineOne(), files));
    expect(chosen).toBe(strategy);
    if (chosen === "mirrored") expect(plan[1]?.reason).toContain(`Linux ${release} would say`);
  });
});

describe("a kernel whose answers gave it away", () => {
  it("is remembered behind whatever passes the calls on", async () => {
    const kernel = withIommufd({ release: "7.3.4", bugs: { attachesNowhere: true } });
    const wrapped = () => traced(kernel, () => {});
    expect((await planOf(wrapped())).strategy).toBe("mirrored");
    for (const syscalls of [wrapped(), kernel]) {
      await expect(open(syscalls, "shared-container")).rejects.toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED" });
    }
    // Another kernel is another matter.
    expect((await planOf(machineOne(), "shared-container")).strategy).toBe("shared-container");
  });
});
