import { refuse } from "../refusal.js";

/** The reserved huge pages of one size (`/sys/kernel/mm/hugepages`). */
export class HugePagePool {
  readonly pageSize: number;
  #total: number;
  #free: number;

  constructor(pageSize: number, total: number) {
    this.pageSize = pageSize;
    this.#total = total;
    this.#free = total;
  }

  get total(): number {
    return this.#total;
  }

  get free(): number {
    return this.#free;
  }

  /** nr_hugepages; pages in use stay. */
  resize(total: number): void {
    const used = this.#total - this.#free;
    this.#total = Math.max(total, used);
    this.#free = this.#total - used;
  }

  take(bytes: number): void {
    const pages = bytes / this.pageSize;
    if (pages > this.#free) refuse("ENOMEM", "no huge pages left");
    this.#free -= pages;
  }

  give(bytes: number): void {
    this.#free += bytes / this.pageSize;
  }
}
