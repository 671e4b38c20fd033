import { DualPathEngine, type Via } from "../../drivers/dual-path-engine.js";
import type { Iova } from "../../iova.js";
import type { IoAddressSpace } from "../../space/io-address-space.js";
import type { DmaPath, Engine } from "./engine.js";

/** What the engine's PCIe function says it is. */
export const FUNCTION_IDS = { vendor: 0x1234, device: 0xd9e1 } as const;
/** What the device tree calls its platform port. */
export const PORT_COMPATIBLE = "iospan,dual-path-dma-port";

const LOAD = 2 ** 20;

/** The names of the engine's interfaces; one may be missing. */
export interface DualPathNames {
  readonly function?: string | undefined;
  readonly port?: string | undefined;
}

/** The dual-path engine: one engine, with a path for each interface it has. */
export class DualPath implements Engine {
  readonly load: number = LOAD;
  readonly paths: readonly DmaPath[];
  readonly #engine: DualPathEngine;

  private constructor(engine: DualPathEngine, names: DualPathNames) {
    this.#engine = engine;
    this.paths = (["function", "port"] as const).flatMap((via) => {
      const name = names[via];
      return name === undefined ? [] : [this.#path(name, via)];
    });
  }

  /** Opens the engine whose interfaces are in the space. */
  static async open(space: IoAddressSpace, names: DualPathNames): Promise<DualPath> {
    return new DualPath(await DualPathEngine.open(space, names), names);
  }

  async copyOverAll(from: Iova, to: Iova, length: number): Promise<number> {
    return (await this.#engine.copy(from, to, length)).elapsed;
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  #path(name: string, via: Via): DmaPath {
    const copy = async (from: Iova, to: Iova, length: number) => {
      return (await this.#engine.copy(from, to, length, { via })).elapsed;
    };
    return { interface: name, copy };
  }
}
