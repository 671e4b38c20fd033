import { eventClasses } from "./events.js";

/**
 * Why the present access is aborted. One object is used over and over: table walks that succeed, which is
 * nearly all of them, must not allocate.
 */
export class Fault {
  /** As in `eventIds`. */
  event = 0;
  stage: 1 | 2 = 1;
  /** As in `eventClasses`. */
  class: number = eventClasses.IN;
  /** Of a stage 2 fault. */
  intermediateAddress = 0;
  /** Of a fetch that was aborted. */
  fetchAddress = 0;
  /** Whether the flags of the CD or STE let it be recorded. */
  recorded = true;

  /** @returns false, for `return fault.set(...)` */
  set(event: number, stage: 1 | 2 = 1, faultClass: number = eventClasses.IN): false {
    this.event = event;
    this.stage = stage;
    this.class = faultClass;
    this.intermediateAddress = 0;
    this.fetchAddress = 0;
    this.recorded = true;
    return false;
  }
}
