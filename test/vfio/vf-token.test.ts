import { readFileSync } from "node:fs";
import { faulty, IoAddressSpace, simulate, strategyNames, traced } from "iospan";
import { describe, expect, it } from "vitest";
import { either } from "../../src/vfio/vf-token.js";
import { ONE, OTHER, PF, pciMachine } from "../sim/linux/pci-machine.js";
import { errorFrom } from "../support/errors.js";

const TOKEN = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
const EINVAL = 22;

describe.each([...strategyNames, "auto"] as const)(
  "a token for a platform device, with the strategy %s",
  (strategy) => {
    const machine = simulate(readFileSync("chips/dual-smmu.dts"), { drivers: "vfio", resetRequired: false });
    const names = machine.interfaces.map(({ name }) => name);
    const platform = machine.interfaces.find(({ bus }) => bus === "platform")?.name ?? "";
    const others = names.filter((name) => name !== platform);
    const refused = { code: "ERR_IOSPAN_INVALID_ARGUMENT", device: platform, errno: undefined };

    it("is refused before anything is opened", async () => {
      const opened: string[] = [];
      const syscalls = traced(machine.syscalls, (line) => opened.push(line));
      const wanted = [...others, { device: platform, vfToken: TOKEN }];
      const error = await errorFrom(IoAddressSpace.open({ syscalls }, wanted, { strategy }));
      expect(error).toMatchObject(refused);
      expect(error.message).toContain("platform device");
      expect(opened.filter((line) => line.includes("/dev/"))).toEqual([]);
    });

    it("is refused with the space as it was", async () => {
      const other = others[0] ?? platform;
      await using space = await IoAddressSpace.open(machine, [other], { strategy: "mirrored" });
      expect(await errorFrom(space.attach({ device: platform, vfToken: TOKEN }))).toMatchObject(refused);
      expect(space.interfaces).toEqual([other]);
    });
  },
);

describe("EINVAL where a token was given", () => {
  const kernel = pciMachine();
  const open = (strategy: "shared-container" | "iommufd", changes: Parameters<typeof pciMachine>[0] = {}) => {
    const syscalls = faulty(pciMachine(changes));
    const call = strategy === "iommufd" ? "VFIO_DEVICE_BIND_IOMMUFD" : "VFIO_GROUP_GET_DEVICE_FD";
    syscalls.fault = { match: ({ ioctl }) => ioctl?.name === call, nth: 1, errno: EINVAL };
    return errorFrom(IoAddressSpace.open({ syscalls }, [{ device: PF, vfToken: TOKEN }], { strategy }));
  };

  it("may as well be about who has the node open", async () => {
    const error = await open("iommufd");
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", errno: EINVAL, device: PF });
    expect(error.message).toMatch(/takes no VF token.*or else \/dev\/vfio\/devices\/vfio\d+.* is in use/);
    expect(error.hint).toMatch(/name it without.*else: .*fuser/);
  });

  it("is about firmware where that is known to use the device's memory", async () => {
    const reserved = [{ start: 0x10000000, end: 0x10000fff, type: "direct" as const }];
    const error = await open("iommufd", { [PF]: { reserved } });
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", errno: EINVAL, device: PF });
    expect(error.message).toMatch(/^firmware wants memory/);
  });

  it("is about the token alone where the kernel has nothing else to say it of", async () => {
    const error = await open("shared-container");
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", errno: EINVAL });
    expect(error.message).not.toContain("or else");
  });

  it("is the one meaning or both", () => {
    const [token, other] = ["ERR_IOSPAN_VF_TOKEN", "ERR_IOSPAN_ATTACH_REFUSED"].map((code) => {
      return { code: code as "ERR_IOSPAN_VF_TOKEN", message: `${code}?`, hint: `mend ${code}` };
    });
    expect(either(EINVAL, {}, { [EINVAL]: other! })).toEqual({});
    expect(either(EINVAL, { [EINVAL]: token! }, {})).toEqual({});
    expect(either(EINVAL, { [EINVAL]: token! }, { [EINVAL]: other! })[EINVAL]).toEqual({
      code: "ERR_IOSPAN_VF_TOKEN",
      message: "ERR_IOSPAN_VF_TOKEN?; or else ERR_IOSPAN_ATTACH_REFUSED?",
      hint: "mend ERR_IOSPAN_VF_TOKEN; else: mend ERR_IOSPAN_ATTACH_REFUSED",
    });
  });

  it("leaves the functions that take none", async () => {
    const machine = { syscalls: kernel };
    const error = await errorFrom(IoAddressSpace.open(machine, [OTHER, { device: ONE, vfToken: TOKEN }]));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", device: ONE });
    expect(kernel.openFds).toEqual([]);
  });
});
