import type { PhysicalMemory } from "../hw/physical-memory.js";
import type { Capability } from "./description.js";
import { FdTable } from "./files/fd-table.js";
import { AddressSpace } from "./mm/address-space.js";
import { Views } from "./mm/views.js";

/** What the process may. */
export interface ProcessLimits {
  /** RLIMIT_MEMLOCK, bytes. */
  readonly memlock: number;
  /** RLIMIT_NOFILE. */
  readonly files: number;
  readonly capabilities: readonly Capability[];
}

/** The process that makes the system calls. */
export class Process {
  readonly pid = 4711;
  readonly command = "node";
  readonly limits: ProcessLimits;
  readonly fds: FdTable;
  readonly memory: AddressSpace;
  readonly views: Views;
  /** Pages that count against RLIMIT_MEMLOCK: the kernel's mm->locked_vm, VmLck in /proc. */
  lockedPages = 0;
  /** Pages that count against the limit of the process's user, whom iommufd charges: the kernel's user->locked_vm. */
  userLockedPages = 0;
  /** Pages that an iommufd pins, counted or not: the kernel's mm->pinned_vm, VmPin in /proc. */
  pinnedPages = 0;

  constructor(limits: ProcessLimits, physical: PhysicalMemory) {
    this.limits = limits;
    this.fds = new FdTable(limits.files);
    this.memory = new AddressSpace(physical);
    this.views = new Views(this.memory, physical);
  }

  hasCapability(capability: Capability): boolean {
    return this.limits.capabilities.includes(capability);
  }
}
