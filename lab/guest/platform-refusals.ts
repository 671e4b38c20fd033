/**
 * What a user sees whose kernel was booted without the parameters that a platform device takes: each refusal names the one
 * that lifts it. VFIO's own is read when the device is bound and cannot be changed later, so it takes a boot of its own:
 *
 *   npm run lab -- -k custom -m platform -- node build/lab/guest/platform-refusals.js
 *   npm run lab -- -k custom -m platform -a vfio_platform.reset_required=1 -- node build/lab/guest/platform-refusals.js
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { bindToVfio, findDevice, IoAddressSpace, linux, type StrategyName } from "iospan";
import { refused } from "../../test/conformance/expect.js";
import { openVfioFiles } from "./open-files.js";
import { Proofs } from "./proofs.js";
import { castOf } from "./rigs.js";

const RESET_REQUIRED = "/sys/module/vfio_platform/parameters/reset_required";
/** Whose parameter has a strategy's say: containers and iommufd have one each. */
const UNSAFE_INTERRUPTS = [
  ["mirrored", "vfio_iommu_type1"],
  ["shared-container", "vfio_iommu_type1"],
  ["iommufd", "iommufd"],
] as const;

const machine = linux();
const proofs = new Proofs();
const { first, port = "" } = castOf(process.env["IOSPAN_LAB_MACHINE"]);

function isRefusedAtBind(): Promise<void> {
  return proofs.prove("a device that no reset module knows is not bound", async () => {
    const { message, hint } = await refused("ERR_IOSPAN_BIND_REFUSED", () => bindToVfio(machine, port));
    assert.match(hint ?? "", /vfio_platform\.reset_required=0/);
    assert.equal(findDevice(machine, port).driver, undefined);
    return `${message}; ${hint}`;
  });
}

/** A device without an MSI domain of its own, whose interrupts nothing keeps apart. */
async function isRefusedAtAttach(strategy: StrategyName, module: string): Promise<void> {
  const parameter = `/sys/module/${module}/parameters/allow_unsafe_interrupts`;
  const before = openVfioFiles(machine);
  for (const names of [[port], [first, port], [port, first]]) {
    await proofs.prove(`${strategy} refuses ${names.join(" and ")}`, async () => {
      writeFileSync(parameter, "N");
      const open = () => IoAddressSpace.open(machine, names, { strategy });
      const { message, hint, errno, device } = await refused("ERR_IOSPAN_UNSAFE_INTERRUPTS", open);
      assert.equal(device, port);
      assert.equal(errno, 1);
      assert.ok(hint?.includes(parameter) || hint?.includes(`${module}.allow_unsafe_interrupts=1`), hint);
      assert.deepEqual(openVfioFiles(machine), before);
      writeFileSync(parameter, "Y");
      await using space = await open();
      assert.deepEqual(space.interfaces, names);
      return `${message}; ${hint}`;
    });
  }
}

if (readFileSync(RESET_REQUIRED, "utf8").trim() === "Y") {
  await isRefusedAtBind();
} else {
  using _first = bindToVfio(machine, first);
  using _port = bindToVfio(machine, port);
  for (const [strategy, module] of UNSAFE_INTERRUPTS) await isRefusedAtAttach(strategy, module);
}
proofs.summarize();
