import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { bindToVfio } from "../../src/machine/driver-binding.js";
import type { Machine } from "../../src/machine/machine.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { SyscallError, type Syscalls } from "../../src/syscalls/syscalls.js";
import { SysfsKernel } from "./support/sysfs-kernel.js";
import { type SysfsTree, twoSmmuBoard } from "./support/sysfs-tree.js";

// Whichever single call fails, in whichever way, the device is afterwards where it was before.

/** A call that fails: not performed, or performed all the same, or (writes) answered with success and not performed. */
interface Strike {
  readonly kind: "refused" | "done, then refused" | "ignored";
  readonly errno: ErrnoName;
  readonly writesOnly: boolean;
}

// ENOENT and its kin only of writes: of a read they would be the truth about the device, it has no such file.
const strikes: readonly Strike[] = [
  { kind: "refused", errno: "EIO", writesOnly: false },
  ...(["EACCES", "EBUSY", "EINVAL", "ENOENT", "ENODEV"] as const).map((name) => ({
    kind: "refused" as const,
    errno: name,
    writesOnly: true,
  })),
  ...(["EIO", "EBUSY", "ENOENT"] as const).map((name) => ({
    kind: "done, then refused" as const,
    errno: name,
    writesOnly: true,
  })),
  { kind: "ignored", errno: "EIO", writesOnly: true },
];

/** Makes the nth call fail, once armed. */
class Saboteur {
  readonly machine: Machine;
  #strike: Strike | undefined;
  #left = 0;

  constructor(syscalls: Syscalls) {
    const around = <T>(call: { readonly name: string }, proceed: () => T): T => {
      const strike = this.#strike;
      if (strike === undefined || (strike.writesOnly && call.name !== "write-file")) return proceed();
      this.#left -= 1;
      if (this.#left !== 0) return proceed();
      if (strike.kind === "ignored") return undefined as T;
      if (strike.kind === "done, then refused") proceed();
      throw new SyscallError(call.name, errno[strike.errno], strike.errno, "injected");
    };
    this.machine = { syscalls: intercepted(syscalls, around) };
  }

  /** Runs `attempt` with its nth call failing. `struck` is false when it made fewer. */
  during<T>(strike: Strike, nth: number, attempt: () => T): { result?: T; error?: unknown; struck: boolean } {
    this.#strike = strike;
    this.#left = nth;
    try {
      return { result: attempt(), struck: this.#left <= 0 };
    } catch (error) {
      return { error, struck: true };
    } finally {
      this.#strike = undefined;
    }
  }
}

const scenarios: Record<string, { device: string; driver?: string; prepare?: (tree: SysfsTree) => void }> = {
  "bound to its driver": { device: "0000:21:00.0" },
  "without a driver": { device: "0000:02:00.0" },
  "a platform device": { device: "9030000.dma-port" },
  "with an override for another driver": {
    device: "0000:21:00.0",
    prepare: (tree) => tree.file("/sys/bus/pci/devices/0000:21:00.0/driver_override", "ahci\n"),
  },
  "on another VFIO driver": {
    device: "0000:0a:00.0",
    driver: "mlx5_vfio_pci",
    prepare: (tree) => tree.driver("pci", "mlx5_vfio_pci"),
  },
};
const matches = { nvme: ["0000:21:00.0"], "dma-port-driver": ["9030000.dma-port"] };

describe.each(Object.entries(scenarios))("%s", (_, { device, driver, prepare }) => {
  const bind = (machine: Machine) => bindToVfio(machine, device, driver === undefined ? {} : { driver });

  function board() {
    const tree = twoSmmuBoard();
    prepare?.(tree);
    return { tree, saboteur: new Saboteur(new SysfsKernel(tree, { matches }).syscalls) };
  }

  it.each(strikes)("binding survives each call $kind ($errno)", (strike) => {
    const { tree, saboteur } = board();
    using _tree = tree;
    const before = tree.snapshot();
    let failures = 0;
    for (let nth = 1, struck = true; struck; nth++) {
      const outcome = saboteur.during(strike, nth, () => bind(saboteur.machine));
      struck = outcome.struck;
      if (outcome.result === undefined) {
        failures += 1;
        expect(outcome.error, `call ${nth}`).toBeInstanceOf(IospanError);
        expect(String(outcome.error), `call ${nth}`).not.toContain("undoing it failed");
      } else {
        outcome.result.restore();
      }
      expect(tree.snapshot(), `call ${nth}: ${outcome.error}`).toEqual(before);
    }
    if (strike.kind !== "ignored") expect(failures).toBeGreaterThan(0);
  });

  it.each(strikes)("restoring survives each call $kind ($errno), and can be tried again", (strike) => {
    const { tree, saboteur } = board();
    using _tree = tree;
    const before = tree.snapshot();
    for (let nth = 1, struck = true; struck; nth++) {
      const binding = bind(saboteur.machine);
      const bound = tree.snapshot();
      const outcome = saboteur.during(strike, nth, () => binding.restore());
      struck = outcome.struck;
      if (outcome.error !== undefined) {
        expect(outcome.error, `call ${nth}`).toBeInstanceOf(IospanError);
        expect(tree.snapshot(), `call ${nth}: ${outcome.error}`).toEqual(bound);
        binding.restore();
      }
      expect(tree.snapshot(), `call ${nth}: ${outcome.error}`).toEqual(before);
    }
  });
});
