import { IoAddressSpace, strategyNames } from "iospan";
import { describe, expect, it } from "vitest";
import { PF, pciMachine, VF } from "../sim/linux/pci-machine.js";
import { errorFrom } from "../support/errors.js";

const TOKEN = "BD8D9D2B-5a5f-4f5a-a211-f591514ba1f3";
const OTHER_TOKEN = "00112233-4455-6677-8899-aabbccddeeff";

describe.each(strategyNames)("SR-IOV with the strategy %s", (strategy) => {
  it("opens a virtual function with the token of its physical function", async () => {
    const kernel = pciMachine();
    const machine = { syscalls: kernel };
    const named = [
      { device: PF, vfToken: TOKEN },
      { device: VF, vfToken: TOKEN },
    ];
    const space = await IoAddressSpace.open(machine, named, { strategy });
    expect(space.interfaces).toEqual([PF, VF]);
    await space.close();
    expect(kernel.openFds).toEqual([]);
  });

  it("says what is wrong with a token, and leaves nothing open", async () => {
    const kernel = pciMachine();
    const machine = { syscalls: kernel };
    await using space = await IoAddressSpace.open(machine, [{ device: PF, vfToken: TOKEN }], { strategy });
    const before = kernel.openFds;
    const missing = await errorFrom(space.attach(VF));
    expect(missing).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", errnoName: "EACCES", device: VF });
    expect(missing.hint).toMatch(/vfToken: .*open the physical function first, with the same token/);
    const wrong = await errorFrom(space.attach({ device: VF, vfToken: OTHER_TOKEN }));
    expect(wrong).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", errnoName: "EACCES", device: VF });
    expect(wrong.hint).toMatch(/open the physical function first, with the same token/);
    expect(kernel.openFds).toEqual(before);
    space.interface(PF).setVfToken(OTHER_TOKEN);
    await space.attach({ device: VF, vfToken: OTHER_TOKEN });
    expect(space.interfaces).toEqual([PF, VF]);
  });

  it("says whose token it is where the physical function's own is wrong", async () => {
    const machine = { syscalls: pciMachine() };
    const named = [PF, VF].map((device) => ({ device, vfToken: TOKEN }));
    await using space = await IoAddressSpace.open(machine, named, { strategy });
    await space.detach(PF);
    const error = await errorFrom(space.attach({ device: PF, vfToken: OTHER_TOKEN }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", errnoName: "EACCES", device: PF });
    expect(error.message).not.toContain("its physical function");
    expect(error.hint).toMatch(/for a physical function whose virtual functions are in use, take the one/);
    await space.attach({ device: PF, vfToken: TOKEN });
    expect(space.interfaces).toEqual([VF, PF]);
  });
});

describe("a kernel before 6.17", () => {
  it("takes no token with a device's own node, which is explained", async () => {
    const machine = { syscalls: pciMachine({}, { release: "6.12.107" }) };
    const opened = IoAddressSpace.open(machine, [{ device: PF, vfToken: TOKEN }], { strategy: "iommufd" });
    const error = await errorFrom(opened);
    expect(error).toMatchObject({ code: "ERR_IOSPAN_VF_TOKEN", errnoName: "EINVAL", device: PF });
    expect(error.message).toContain("6.17");
    await using space = await IoAddressSpace.open(machine, [{ device: PF, vfToken: TOKEN }]);
    expect(space.strategy).toBe("shared-container");
  });
});
