import { refuse } from "../refusal.js";
import type { BoundDevice } from "./bound-device.js";
import type { HwPageTable } from "./hw-page-table.js";
import type { Ioas } from "./ioas.js";

/** What an iommufd has ids for. */
export type IommufdObject = Ioas | HwPageTable | BoundDevice;

/** The objects of one iommufd. All kinds share the ids, of which a new one gets the lowest that is free, from 1. */
export class ObjectTable {
  readonly #objects = new Map<number, IommufdObject>();

  get isEmpty(): boolean {
    return this.#objects.size === 0;
  }

  /** By id. */
  get all(): readonly IommufdObject[] {
    return [...this.#objects.values()].sort((a, b) => a.id - b.id);
  }

  /** Makes an object with the next id. */
  add<T extends IommufdObject>(make: (id: number) => T): T {
    let id = 1;
    while (this.#objects.has(id)) id++;
    const object = make(id);
    this.#objects.set(id, object);
    return object;
  }

  get(id: number): IommufdObject | undefined {
    return this.#objects.get(id);
  }

  delete(id: number): void {
    this.#objects.delete(id);
  }

  /** ENOENT for another kind, too, as iommufd_get_object says. */
  ioas(id: number): Ioas {
    const object = this.get(id);
    return object?.kind === "ioas" ? object : refuse("ENOENT");
  }

  /** As {@link ioas}. */
  hwpt(id: number): HwPageTable {
    const object = this.get(id);
    return object?.kind === "hwpt" ? object : refuse("ENOENT");
  }

  /** As {@link ioas}. */
  device(id: number): BoundDevice {
    const object = this.get(id);
    return object?.kind === "device" ? object : refuse("ENOENT");
  }
}
