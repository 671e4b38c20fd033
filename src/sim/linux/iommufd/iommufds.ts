import { IommufdContext, type IommufdKernel } from "./context.js";
import { IommufdFile } from "./iommufd-file.js";
import { type IommufdSnapshot, snapshotOf } from "./snapshot.js";

/** The misc device `/dev/iommu`: each open makes an iommufd. */
export class Iommufds {
  readonly #kernel: IommufdKernel;
  readonly #contexts = new Set<IommufdContext>();

  constructor(kernel: IommufdKernel) {
    this.#kernel = kernel;
  }

  open(): IommufdFile {
    const context = new IommufdContext(this.#kernel);
    this.#contexts.add(context);
    context.onRelease = () => this.#contexts.delete(context);
    return new IommufdFile(context);
  }

  /** Those that are open, by a descriptor or by a device, in the order they were made. */
  snapshots(): readonly IommufdSnapshot[] {
    return Array.from(this.#contexts, snapshotOf);
  }
}
