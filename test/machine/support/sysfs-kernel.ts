import * as fs from "node:fs";
import { type ErrnoName, errno, errnoName } from "../../../src/abi/errno.js";
import type { Machine } from "../../../src/machine/machine.js";
import { SyscallError, type Syscalls } from "../../../src/syscalls/syscalls.js";
import type { SysfsTree } from "./sysfs-tree.js";

/** How the kernel's drivers behave here. */
export interface KernelRules {
  /** Which devices a driver matches by its own table; none where it is not listed. Without an override these bind. */
  readonly matches?: Readonly<Record<string, readonly string[]>>;
  /** What a driver's probe answers, "ok" where it takes the device. */
  readonly probe?: (driver: string, device: string) => ErrnoName | "ok";
  /** What the driver core answers before the probe is asked, such as EBUSY for a group that VFIO owns. */
  readonly configure?: (driver: string, device: string) => ErrnoName | "ok";
}

/** As much of Linux's driver core as binding needs, over a {@link SysfsTree}; every other call fails with ENOSYS. */
export class SysfsKernel {
  readonly tree: SysfsTree;
  /** May be changed between calls. */
  rules: KernelRules;
  /** Paths written, in order, with the text. */
  readonly writes: string[] = [];
  readonly syscalls: Syscalls;

  constructor(tree: SysfsTree, rules: KernelRules = {}) {
    this.tree = tree;
    this.rules = rules;
    const files: Partial<Syscalls> = {
      readFile: (path) => this.#host(path, () => fs.readFileSync(tree.host(path), "utf8")),
      readDirectory: (path) => this.#host(path, () => fs.readdirSync(tree.host(path)).sort()),
      readLink: (path) => this.#host(path, () => fs.readlinkSync(tree.host(path))),
      writeFile: (path, text) => this.#write(path, text),
    };
    this.syscalls = new Proxy(files, {
      get: (target, name) => Reflect.get(target, name) ?? (() => refuse("ENOSYS", String(name))),
    }) as Syscalls;
  }

  get machine(): Machine {
    return { syscalls: this.syscalls };
  }

  #host<T>(path: string, call: () => T): T {
    try {
      return call();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return refuse((code ?? "EIO") as ErrnoName, path);
    }
  }

  #write(path: string, text: string): void {
    this.writes.push(`${path} ${text}`);
    const name = text.trimEnd();
    const [, bus = "", file = ""] = /^\/sys\/bus\/(pci|platform)\/(.*)$/.exec(path) ?? [];
    const [, driver = "", action] = /^drivers\/([^/]+)\/(bind|unbind)$/.exec(file) ?? [];
    if (action !== undefined && !fs.existsSync(this.tree.host(`/sys/bus/${bus}/drivers/${driver}`)))
      refuse("ENOENT", path);
    if (file === "drivers_probe") this.#probeAny(bus, name);
    else if (/^devices\/[^/]+\/driver_override$/.test(file)) this.#setOverride(path, name);
    else if (action === "bind") this.#bind(bus, name, driver);
    else if (action === "unbind") this.#unbind(bus, name, driver);
    else refuse("EACCES", path);
  }

  #setOverride(path: string, driver: string): void {
    if (!fs.existsSync(this.tree.host(path))) refuse("ENOENT", path);
    fs.writeFileSync(this.tree.host(path), `${driver === "" ? "(null)" : driver}\n`);
  }

  /** As bus_rescan_devices_helper: a probe's refusal is swallowed, and the next driver asked; the core's is not. */
  #probeAny(bus: string, name: string): void {
    if (!fs.existsSync(this.#home(bus, name))) refuse("EINVAL", name);
    if (this.#driverOf(bus, name) !== undefined) return;
    const drivers = fs.readdirSync(this.tree.host(`/sys/bus/${bus}/drivers`)).sort();
    for (const driver of drivers.filter((each) => this.#isMatch(bus, name, each))) {
      const configured = this.rules.configure?.(driver, name) ?? "ok";
      if (configured !== "ok") refuse(configured, name);
      if ((this.rules.probe?.(driver, name) ?? "ok") !== "ok") continue;
      this.#attach(bus, name, driver);
      return;
    }
  }

  /** As bind_store and device_driver_attach: the probe's answer is the write's. */
  #bind(bus: string, name: string, driver: string): void {
    if (!fs.existsSync(this.#home(bus, name)) || !this.#isMatch(bus, name, driver)) refuse("ENODEV", name);
    if (this.#driverOf(bus, name) !== undefined) refuse("EBUSY", name);
    for (const ask of [this.rules.configure, this.rules.probe]) {
      const answer = ask?.(driver, name) ?? "ok";
      if (answer !== "ok") refuse(answer, name);
    }
    this.#attach(bus, name, driver);
  }

  #unbind(bus: string, name: string, driver: string): void {
    if (this.#driverOf(bus, name) !== driver) refuse("ENODEV", name);
    fs.rmSync(`${this.#home(bus, name)}/driver`);
    fs.rmSync(`${this.#home(bus, name)}/vfio-dev`, { recursive: true, force: true });
  }

  #attach(bus: string, name: string, driver: string): void {
    const home = fs.realpathSync(this.#home(bus, name)).slice(fs.realpathSync(this.tree.root).length);
    this.tree.link(`${home}/driver`, `/sys/bus/${bus}/drivers/${driver}`);
    if (driver.includes("vfio")) this.tree.directory(`${home}/vfio-dev/vfio0`);
  }

  #isMatch(bus: string, name: string, driver: string): boolean {
    const override = fs.readFileSync(`${this.#home(bus, name)}/driver_override`, "utf8").trimEnd();
    if (override !== "(null)") return override === driver;
    return this.rules.matches?.[driver]?.includes(name) ?? false;
  }

  #driverOf(bus: string, name: string): string | undefined {
    const link = `${this.#home(bus, name)}/driver`;
    return fs.existsSync(link) ? fs.readlinkSync(link).replace(/.*\//, "") : undefined;
  }

  #home(bus: string, name: string): string {
    return this.tree.host(`/sys/bus/${bus}/devices/${name}`);
  }
}

function refuse(name: ErrnoName, detail: string): never {
  throw new SyscallError("sysfs", errno[name], errnoName(errno[name]), detail);
}
