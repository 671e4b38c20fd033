import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { bindToVfio, findDevice, IoAddressSpace, type Machine, type StrategyName } from "iospan";
import { refused } from "../../test/conformance/expect.js";

/** Only with this does vfio-pci give a physical function virtual ones (drivers/vfio/pci/vfio_pci.c). */
const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";
const EACCES = 13;

/**
 * A virtual function, made while its physical function is open, comes into a space with the token that its physical function has
 * been given, and only with that.
 * @returns what was proven, in a sentence.
 */
export async function virtualFunction(machine: Machine, physical: string, strategy: StrategyName): Promise<string> {
  writeFileSync(ENABLE_SRIOV, "Y");
  using _bound = bindToVfio(machine, physical);
  const folder = `/sys/bus/pci/devices/${physical}`;
  const token = randomUUID();
  await using space = await IoAddressSpace.open(machine, [physical], { strategy });
  space.interface(physical).setVfToken(token);
  writeFileSync(`${folder}/sriov_numvfs`, "1");
  try {
    const virtual = basename(readlinkSync(`${folder}/virtfn0`));
    assert.equal(findDevice(machine, virtual).driver, "vfio-pci");
    await opensByToken(space, virtual, token);
    return `${virtual}, of ${physical}`;
  } finally {
    writeFileSync(`${folder}/sriov_numvfs`, "0");
  }
}

async function opensByToken(space: IoAddressSpace, virtual: string, token: string): Promise<void> {
  const before = space.interfaces;
  for (const vfToken of [undefined, randomUUID()]) {
    const error = await refused("ERR_IOSPAN_VF_TOKEN", () => space.attach({ device: virtual, vfToken }));
    assert.equal(error.errno, EACCES);
    assert.equal(error.device, virtual);
    assert.deepEqual(space.interfaces, before);
  }
  await space.attach({ device: virtual, vfToken: token });
  using buffer = space.allocate(space.granule);
  assert.equal(space.audit().consistent, true);
  assert.ok(buffer.iova > 0n);
  assert.ok(space.interface(virtual).region("bar0").size > 0);
  await space.detach(virtual);
}
