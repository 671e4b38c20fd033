import type { Syscalls } from "../syscalls/syscalls.js";

/** What this process has of something on each kernel that it talks to; gone with the kernel. */
export class PerKernel<T> {
  readonly #make: () => T;
  readonly #all = new WeakMap<object, T>();

  constructor(make: () => T) {
    this.#make = make;
  }

  of(syscalls: Syscalls): T {
    const kernel = syscalls.kernel ?? syscalls;
    const known = this.#all.get(kernel) ?? this.#make();
    this.#all.set(kernel, known);
    return known;
  }
}
