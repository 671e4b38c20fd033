import { Writable } from "node:stream";

/** Where what a guest's program prints goes. */
export interface GuestOutput {
  readonly stdout: Writable;
  readonly stderr: Writable;
}

/** As it comes. */
export const passedOn: GuestOutput = process;

/** Kept until the guest has ended, so that guests that run side by side do not talk across each other. */
export class HeldOutput implements GuestOutput {
  readonly #said: { readonly to: keyof GuestOutput; readonly chunk: Uint8Array }[] = [];
  readonly stdout: Writable = this.#keeper("stdout");
  readonly stderr: Writable = this.#keeper("stderr");

  /** Prints it all, each stream's share on its own stream, in the order in which it came. */
  tell(to: GuestOutput = passedOn): void {
    for (const { to: stream, chunk } of this.#said.splice(0)) to[stream].write(chunk);
  }

  #keeper(to: keyof GuestOutput): Writable {
    return new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        this.#said.push({ to, chunk });
        done();
      },
    });
  }
}
