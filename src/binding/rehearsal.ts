import { errno } from "../abi/errno.js";
import { type DriverState, findDeviceState } from "../machine/devices.js";
import type { BusType, Machine } from "../machine/machine.js";
import { baseName } from "../machine/sysfs.js";
import { intercepted } from "../syscalls/intercepted.js";
import { SyscallError } from "../syscalls/syscalls.js";

/** A write to sysfs that was rehearsed. */
export interface RehearsedWrite {
  readonly path: string;
  readonly text: string;
}

/** A machine on which drivers can be changed without changing them. */
export interface Rehearsal {
  readonly machine: Machine;
  /** What would have been written, in order. */
  readonly writes: readonly RehearsedWrite[];
}

/** What is imagined besides. */
export interface RehearsalOptions {
  /** The drivers that devices would be probed by, without an override, by device; none for others. */
  readonly expected?: ReadonlyMap<string, string>;
  /** Drivers taken for loaded. */
  readonly loaded?: readonly { readonly bus: BusType; readonly driver: string }[];
}

/**
 * A machine that reads as `machine` does, and imagines what writes that change drivers would do: each driver takes what it is
 * given. So a rehearsal is made by the very code that makes the change. Any other write is refused.
 */
export function rehearse(machine: Machine, { expected = new Map(), loaded = [] }: RehearsalOptions = {}): Rehearsal {
  const writes: RehearsedWrite[] = [];
  const imagined = new Imagined(machine, expected);
  const folders = new Set(loaded.map(({ bus, driver }) => `/sys/bus/${bus}/drivers/${driver}`));
  const syscalls = intercepted(machine.syscalls, (call, proceed) => {
    const { name, path = "" } = call;
    if (name === "write-file") {
      writes.push({ path, text: String(call.argument) });
      return imagined.write(path, String(call.argument)) as ReturnType<typeof proceed>;
    }
    if (name === "read-directory" && folders.has(path)) return [] as ReturnType<typeof proceed>;
    return (imagined.answer(name, path) ?? proceed()) as ReturnType<typeof proceed>;
  });
  return { machine: { syscalls }, writes };
}

const DEVICE = /^\/sys\/bus\/(pci|platform)\/devices\/([^/]+)(?:\/(driver|driver_override))?$/;

/** The drivers of devices, as they would be. */
class Imagined {
  readonly #machine: Machine;
  readonly #expected: ReadonlyMap<string, string>;
  readonly #states = new Map<string, DriverState>();

  constructor(machine: Machine, expected: ReadonlyMap<string, string>) {
    this.#machine = machine;
    this.#expected = expected;
  }

  /** The answer to a reading call; undefined where the machine's own stands. */
  answer(call: string, path: string): string | readonly string[] | undefined {
    const [, bus = "", name = "", file] = DEVICE.exec(path) ?? [];
    const state = this.#states.get(name);
    if (state === undefined) return undefined;
    if (call === "read-file" && file === "driver_override") return `${state.driverOverride ?? "(null)"}\n`;
    if (call === "readlinkat" && file === "driver") return driverLink(bus, state.driver, path);
    if (call !== "read-directory" || file !== undefined) return undefined;
    const others = this.#machine.syscalls
      .readDirectory(path)
      .filter((each) => each !== "driver" && each !== "vfio-dev");
    return state.driver === undefined ? others : [...others, "driver"].sort();
  }

  write(path: string, text: string): undefined {
    const [, , name, file] = DEVICE.exec(path) ?? [];
    const override = text.trimEnd();
    if (name !== undefined && file === "driver_override")
      return this.#set(name, { driverOverride: override === "" ? undefined : override });
    const [, , asked] =
      /^\/sys\/bus\/(pci|platform)\/(drivers_probe|drivers\/[^/]+\/(?:bind|unbind))$/.exec(path) ?? [];
    if (asked === undefined) throw new SyscallError("write-file", errno.EROFS, "EROFS", "rehearsal");
    return this.#ask(asked, text.trimEnd());
  }

  #ask(asked: string, name: string): undefined {
    const [, driver, verb] = asked.split("/");
    if (verb === "bind") return this.#set(name, { driver });
    if (verb === "unbind") return this.#set(name, { driver: undefined });
    const { driver: present, driverOverride } = this.#state(name);
    return this.#set(name, { driver: present ?? driverOverride ?? this.#expected.get(name) });
  }

  #set(name: string, change: Partial<DriverState>): undefined {
    this.#states.set(name, { ...this.#state(name), ...change });
  }

  #state(name: string): DriverState {
    const known = this.#states.get(name);
    if (known !== undefined) return known;
    const { driver, driverOverride } = findDeviceState(this.#machine, name);
    return { driver, driverOverride };
  }
}

function driverLink(bus: string, driver: string | undefined, path: string): string {
  if (driver === undefined) throw new SyscallError("readlinkat", errno.ENOENT, "ENOENT", path);
  return `../../../bus/${bus satisfies BusType | string}/drivers/${baseName(driver)}`;
}

/** The writes as commands for a shell. */
export function shellCommands(writes: readonly RehearsedWrite[]): readonly string[] {
  return writes.map(({ path, text }) => `echo ${quoted(text.trimEnd())} > ${quoted(path)}`);
}

/** A word for the shell; an empty one clears what it is written to. */
function quoted(word: string): string {
  return word === "" || /[^\w./:,+@-]/.test(word) ? `'${word.replaceAll("'", "'\\''")}'` : word;
}
