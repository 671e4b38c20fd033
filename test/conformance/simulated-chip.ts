import { readdirSync, readFileSync } from "node:fs";
import { bindToVfio, type SimulatedMachine, type SimulateOptions, type StrategyName, simulate } from "iospan";
import { eduRegisters } from "./port-registers.js";
import type { PlatformRig, Rig } from "./rig.js";

const CHIPS = new URL("../../chips/", import.meta.url);

/** What a chip has to have, or to be given, to be a rig: nodes by their label. */
interface Cast {
  readonly first: string;
  readonly second: string;
  readonly neighbour: string;
  readonly stranger: string;
  /** What the chip's rig has of its own. */
  readonly rig?: Pick<Rig, "granule" | "secondHasMsi" | "oneIommu">;
  /** Device tree source that is appended to the chip's: devices that it lacks. */
  readonly added?: string;
}

const EDU = 'compatible = "pci1234,11e8";';

/** An `edu` on the first bus of a PCIe host. */
const eduOn = (host: string, label: string, slot: number): string =>
  `&${host} { ${label}: edu@${slot},0 { ${EDU} reg = <${slot << 11} 0 0 0 0>; }; };\n`;

/** A PCIe host behind an SMMU that has none, where the chips have nothing, with an `edu`. */
const hostBehind = (smmu: string, label: string): string => `
/ {
	pcie@4040000000 {
		compatible = "pci-host-ecam-generic";
		device_type = "pci";
		reg = <0x40 0x40000000 0x0 0x1000000>;
		bus-range = <0x0 0xf>;
		linux,pci-domain = <0x1>;
		#address-cells = <3>;
		#size-cells = <2>;
		ranges = <0x02000000 0x0 0x28000000 0x0 0x28000000 0x0 0x8000000>;
		dma-coherent;
		iommu-map = <0x0 &${smmu} 0x0 0x10000>;
		msi-map = <0x0 &its 0x20000 0x10000>;
		${label}: edu@3,0 { ${EDU} reg = <${3 << 11} 0 0 0 0>; };
	};
};
`;

/** An `edu` on the chip's own bus, whose registers are there twice more, once in less than a page. */
const eduPort = (smmu: string, streamId: number): string => `
/ {
	edu_port: edu@9040000 {
		compatible = "iospan,edu";
		reg = <0x0 0x09040000 0x0 0x1000>, <0x0 0x09041000 0x0 0x800>, <0x0 0x09042000 0x0 0x1000>;
		interrupts = <0 113 4>, <0 114 1>; /* level, edge */
		iommus = <&${smmu} ${streamId}>;
		msi-parent = <&its 0x10043>;
		dma-coherent;
	};
};
`;

/** The article's engine is the neighbour, and its port the stranger; an `edu` comes to each of its SMMUs. */
const ENGINES: Cast = {
  first: "first_edu",
  second: "second_edu",
  neighbour: "engine",
  stranger: "port",
  added: eduOn("pcie", "first_edu", 2) + hostBehind("smmu1", "second_edu") + eduPort("smmu1", 0x43),
};

/** The windows that the engine and its port keep for themselves are the added devices', too. */
const SAME_WINDOWS = `
&peer_window { iommu-addresses = <&engine 0x0 0x0 0x40000000 0x0 0x10000000>, <&first_edu 0x0 0x0 0x40000000 0x0 0x10000000>; };
&mailbox { iommu-addresses = <&port 0x0 0x10000000 0x0 0x100000>, <&second_edu 0x0 0x0 0x10000000 0x0 0x100000>; };
&first_edu { memory-region = <&peer_window>; };
&second_edu { memory-region = <&mailbox>; };
`;

/** By the file in `chips`. A chip that is not here cannot be tested, and its test says so. */
const CASTS: Readonly<Record<string, Cast>> = {
  "dual-smmu": ENGINES,
  "dual-smmu-slow-memory": ENGINES,
  "unequal-aperture": ENGINES,
  "unequal-granules": { ...ENGINES, rig: { granule: 65536, secondHasMsi: false } },
  "unequal-reserved": { ...ENGINES, added: `${ENGINES.added}${SAME_WINDOWS}` },
  "one-smmu": {
    ...ENGINES,
    rig: { oneIommu: true },
    added: `${eduOn("pcie", "first_edu", 2)}${eduOn("pcie", "second_edu", 3)}${eduPort("smmu0", 0x10043)}`,
  },
  "three-iommus": { ...ENGINES, second: "edu", added: eduOn("pcie0", "first_edu", 2) },
  "two-pcie": { first: "edu0", second: "edu1", neighbour: "nvme0", stranger: "nvme1" },
};

/** A chip's device tree, with the devices that a rig takes. */
function chipWithRig(chip: string): string {
  return `${readFileSync(new URL(`${chip}.dts`, CHIPS), "utf8")}${castOf(chip).added ?? ""}`;
}

/** A rig, and the machine that it is. */
export interface ChipRig extends Rig {
  readonly machine: SimulatedMachine;
}

/**
 * A machine of a chip, and on it the devices of a rig, which are bound to vfio-pci.
 * @param changes device tree source that is appended to the chip's
 */
export function chipRig(chip: string, strategy: StrategyName, options: SimulateOptions = {}, changes = ""): ChipRig {
  const { first, second, neighbour, stranger, rig } = castOf(chip);
  const drivers = { [first]: "vfio-pci", [second]: "vfio-pci", [neighbour]: "vfio-pci" };
  const machine = simulate(chipWithRig(chip) + changes, { drivers, hugepages2M: 8, ...options });
  return {
    machine,
    strategy,
    first: nameOf(machine, first),
    second: nameOf(machine, second),
    neighbour: nameOf(machine, neighbour),
    stranger: nameOf(machine, stranger),
    ...rig,
    depth: "quick",
    emulated: false,
    wait: async (milliseconds) => machine.clock.advance(milliseconds),
    unbind: (name) => machine.unbind(name),
    openFiles: () => machine.openFds.map(({ path }) => path).sort(),
  };
}

/** The same with an `edu` on the chip's own bus. */
export function chipPlatformRig(chip: string, strategy: StrategyName): ChipRig & PlatformRig {
  const rig = chipRig(chip, strategy, { resetRequired: false });
  const port = nameOf(rig.machine, "edu_port");
  bindToVfio(rig.machine, port);
  return { ...rig, port, registers: eduRegisters, readOnlyFrame: false };
}

/** Names of the package's chips. */
export const chipNames: readonly string[] = readdirSync(CHIPS)
  .filter((file) => file.endsWith(".dts"))
  .map((file) => file.slice(0, -".dts".length));

/** Whether a chip is there for what its IOMMUs do not have in common. */
export const isUnequal = (chip: string): boolean => chip.startsWith("unequal-");

function nameOf(machine: SimulatedMachine, label: string): string {
  const found = machine.interfaces.find((each) => each.label === label);
  if (found === undefined) throw new Error(`${machine.model} has no ${label}`);
  return found.name;
}

function castOf(chip: string): Cast {
  const cast = CASTS[chip];
  if (cast === undefined) throw new Error(`chips/${chip}.dts is new here: say which of its devices a rig is`);
  return cast;
}
