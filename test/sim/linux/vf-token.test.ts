import { describe, expect, it } from "vitest";
import { bindIommufd, VFIO_DEVICE_BIND_FLAG, VFIO_DEVICE_BIND_IOMMUFD } from "../../../src/abi/vfio-cdev.js";
import {
  deviceFeature,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_INDEX,
  VFIO_DEVICE_FEATURE_OPERATION,
} from "../../../src/abi/vfio-feature.js";
import { parsePciName, uuidText } from "../../../src/sim/linux/vfio/vf-token.js";
import { O_RDWR } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE, Program } from "../program.js";
import { outcome as refusal } from "../support/outcome.js";
import { ONE, PF, pciMachine, VF } from "./pci-machine.js";

const TOKEN = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
const OTHER_TOKEN = "00112233-4455-6677-8899-aabbccddeeff";
const { GET, SET, PROBE } = VFIO_DEVICE_FEATURE_OPERATION;
const { PCI_VF_TOKEN } = VFIO_DEVICE_FEATURE_INDEX;

const bytesOf = (uuid: string) => Uint8Array.from(Buffer.from(uuid.replaceAll("-", ""), "hex"));

/** A container with the groups of both functions; neither is open. */
function setUp(changes: Parameters<typeof pciMachine>[0] = {}, options: Parameters<typeof pciMachine>[1] = {}) {
  const program = new Program(pciMachine(changes, options));
  const container = program.container();
  const [pf, vf] = [PF, VF].map((name) => {
    const group = program.group(name);
    program.setContainer(group, container);
    return group;
  }) as [Fd, Fd];
  program.setIommu(container);
  const log = () => program.kernel.log.filter((line) => line.includes("VF token"));
  return { program, pf, vf, log };
}

describe("the name of a PCI device", () => {
  it.each([
    ["0000:04:10.0", { uuid: undefined }],
    ["0000:04:10.0  ", { uuid: undefined }],
    [`0000:04:10.0 vf_token=${TOKEN}`, { uuid: TOKEN }],
    [`0000:04:10.0   vf_token=${TOKEN.toUpperCase()} `, { uuid: TOKEN }],
    ["0000:04:10.1", undefined],
    ["0000:04:10.0x", undefined],
  ])("%j is understood", (text, expected) => expect(parsePciName("0000:04:10.0", text)).toEqual(expected));

  it.each([
    "0000:04:10.0 fast",
    "0000:04:10.0 vf_token=",
    "0000:04:10.0 vf_token=bd8d9d2b",
    `0000:04:10.0 vf_token=${TOKEN}x`,
    `0000:04:10.0 vf_token=${TOKEN} vf_token=${TOKEN}`,
  ])("%j is refused", (text) => expect(refusal(() => parsePciName("0000:04:10.0", text))).toBe("EINVAL"));
});

describe("a virtual function through its group", () => {
  it("takes the token that its physical function was opened with", () => {
    const { program, pf, vf, log } = setUp();
    program.device(pf, `${PF} vf_token=${TOKEN}`);
    expect(outcome(() => program.device(vf, VF))).toBe("EACCES");
    expect(outcome(() => program.device(vf, `${VF} vf_token=${OTHER_TOKEN}`))).toBe("EACCES");
    expect(program.device(vf, `${VF} vf_token=${TOKEN}`)).toBeGreaterThan(vf);
    expect(log()).toEqual([
      `vfio-pci ${VF}: VF token required to access device`,
      `vfio-pci ${VF}: Incorrect VF token provided for device`,
    ]);
  });

  it("cannot be had while nobody knows the token", () => {
    const { program, vf } = setUp();
    expect(outcome(() => program.device(vf, `${VF} vf_token=${TOKEN}`))).toBe("EACCES");
  });

  it("asks who opens its physical function for it, as long as it is open", () => {
    const { program, pf, vf } = setUp();
    const first = program.device(pf, `${PF} vf_token=${TOKEN}`);
    const virtual = program.device(vf, `${VF} vf_token=${TOKEN}`);
    program.kernel.close(first);
    expect(outcome(() => program.device(pf, PF))).toBe("EACCES");
    expect(outcome(() => program.device(pf, `${PF} vf_token=${OTHER_TOKEN}`))).toBe("EACCES");
    program.kernel.close(program.device(pf, `${PF} vf_token=${TOKEN}`));
    program.kernel.close(virtual);
    program.device(pf, `${PF} vf_token=${OTHER_TOKEN}`);
    expect(outcome(() => program.device(vf, `${VF} vf_token=${TOKEN}`))).toBe("EACCES");
  });

  it("takes no token where its physical function is not on vfio-pci", () => {
    const { program, vf, log } = (() => {
      const kernel = pciMachine({ [PF]: { driver: "igb" } });
      const one = new Program(kernel);
      const container = one.container();
      const group = one.group(VF);
      one.setContainer(group, container);
      one.setIommu(container);
      return { program: one, vf: group, log: () => kernel.log.filter((line) => line.includes("VF token")) };
    })();
    expect(outcome(() => program.device(vf, `${VF} vf_token=${TOKEN}`))).toBe("EINVAL");
    expect(log()).toEqual([`vfio-pci ${VF}: VF token incorrectly provided, PF not bound to vfio-pci`]);
    expect(program.device(vf, VF)).toBeGreaterThan(vf);
  });

  it("keeps a physical function from being taken by vfio-pci once it is there", () => {
    const kernel = pciMachine({ [PF]: { driver: "igb" } });
    kernel.writeFile(`/sys/bus/pci/devices/${PF}/driver_override`, "vfio-pci");
    kernel.writeFile("/sys/bus/pci/drivers/igb/unbind", PF);
    expect(outcome(() => kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", PF))).toBe("EBUSY");
    expect(kernel.log).toContain(`vfio-pci ${PF}: Cannot bind to PF with SR-IOV enabled`);
  });
});

describe("the token as a feature", () => {
  const call = (program: Program, device: Fd, flags: number, data: Uint8Array = bytesOf(TOKEN), argsz?: number) => {
    const header = argsz === undefined ? { flags } : { flags, argsz };
    return outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_FEATURE, deviceFeature.encode(header, data)));
  };

  it("can be probed for and set, not read", () => {
    const { program, pf, vf } = setUp();
    const device = program.device(pf, PF);
    expect(call(program, device, PROBE | PCI_VF_TOKEN)).toBe(0);
    expect(call(program, device, PROBE | SET | PCI_VF_TOKEN)).toBe(0);
    expect(call(program, device, PROBE | GET | PCI_VF_TOKEN)).toBe("EINVAL");
    expect(call(program, device, GET | PCI_VF_TOKEN)).toBe("EINVAL");
    expect(call(program, device, SET | GET | PCI_VF_TOKEN)).toBe("EINVAL");
    expect(call(program, device, PCI_VF_TOKEN)).toBe("EINVAL");
    expect(call(program, device, SET | PCI_VF_TOKEN, bytesOf(TOKEN), 23)).toBe("EINVAL");
    expect(call(program, device, SET | PCI_VF_TOKEN, new Uint8Array(8), 24)).toBe("EFAULT");
    expect(call(program, device, (1 << 20) | PCI_VF_TOKEN)).toBe("EINVAL");
    expect(call(program, device, SET | PCI_VF_TOKEN)).toBe(0);
    expect(program.device(vf, `${VF} vf_token=${TOKEN}`)).toBeGreaterThan(vf);
  });

  it("is a physical function's only", () => {
    const { program, vf, pf } = setUp();
    program.device(pf, `${PF} vf_token=${TOKEN}`);
    const virtual = program.device(vf, `${VF} vf_token=${TOKEN}`);
    expect(call(program, virtual, SET | PCI_VF_TOKEN)).toBe("ENOTTY");
    const [plain] = new Program(program.kernel).open(ONE).devices as [Fd];
    expect(call(program, plain, PROBE | PCI_VF_TOKEN)).toBe("ENOTTY");
    expect(call(program, plain, PROBE | VFIO_DEVICE_FEATURE_INDEX.MIGRATION)).toBe("ENOTTY");
    expect(call(program, plain, PROBE | VFIO_DEVICE_FEATURE_INDEX.LOW_POWER_ENTRY)).toBe("ENOSYS");
  });
});

describe("a token at BIND_IOMMUFD", () => {
  function bind(program: Program, name: string, token?: { readonly address: bigint }) {
    const [node] = program.kernel.readDirectory(`/sys/bus/pci/devices/${name}/vfio-dev`);
    const device = program.kernel.open(`/dev/vfio/devices/${node}`, O_RDWR);
    const iommufd = program.kernel.open("/dev/iommu", O_RDWR);
    const rest = token && { flags: VFIO_DEVICE_BIND_FLAG.TOKEN, token_uuid_ptr: token.address };
    const bytes = bindIommufd.encode({ iommufd, ...rest });
    return outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, bytes));
  }

  function inMemory(program: Program, uuid: string) {
    const address = program.memory(PAGE);
    program.bytes(address, PAGE).set(bytesOf(uuid));
    return { address };
  }

  it("is read from the program's memory", () => {
    const program = new Program(pciMachine());
    expect(bind(program, PF, inMemory(program, TOKEN))).toBe(0);
    expect(bind(program, VF)).toBe("EACCES");
    expect(bind(program, VF, { address: 0x10n })).toBe("EFAULT");
    expect(bind(program, VF, inMemory(program, OTHER_TOKEN))).toBe("EACCES");
    expect(bind(program, VF, inMemory(program, TOKEN))).toBe(0);
    expect(bind(program, ONE, inMemory(program, TOKEN))).toBe("EINVAL");
  });

  it("is unknown before Linux 6.17, which asks for none", () => {
    const program = new Program(pciMachine({}, { release: "6.12.107" }));
    expect(bind(program, PF, inMemory(program, TOKEN))).toBe("EINVAL");
    expect(bind(program, VF)).toBe(0);
  });
});

describe("a UUID", () => {
  it("is written in the order of its bytes", () => expect(uuidText(bytesOf(TOKEN))).toBe(TOKEN));
});
