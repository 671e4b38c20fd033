import type { Clock } from "../hw/clock.js";

/** The kernel's messages, oldest first, as dmesg prints them without their time. */
export class KernelLog {
  readonly lines: string[] = [];

  print(line: string): void {
    this.lines.push(line);
  }

  /** dev_err and its relatives: the driver's and the device's name in front. */
  device(driver: string, device: string, message: string): void {
    this.print(`${driver} ${device}: ${message}`);
  }
}

/** Linux's DEFINE_RATELIMIT_STATE with its defaults: 10 in 5 seconds, then silence until they are over. */
export class RateLimit {
  readonly #clock: Clock;
  #begin: number | undefined;
  #used = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether one more may be printed now. */
  allow(): boolean {
    if (this.#begin === undefined || this.#clock.now > this.#begin + 5000) {
      this.#begin = this.#clock.now;
      this.#used = 0;
    }
    this.#used += 1;
    return this.#used <= 10;
  }
}
