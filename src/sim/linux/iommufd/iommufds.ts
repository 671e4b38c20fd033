import { IommufdContext, type IommufdKernel } from "./context.js";
import { IommufdFile } from "./iommufd-file.js";
import { type IommufdSnapshot, snapshotOf } from "./snapshot.js";

/** The misc device `/dev/iommu`, and `/dev/vfio/vfio` where iommufd provides that: each open makes an iommufd. */
export class Iommufds {
  readonly #kernel: IommufdKernel;
  #saidWhoProvides = false;
  readonly #contexts = new Set<IommufdContext>();

  constructor(kernel: IommufdKernel) {
    this.#kernel = kernel;
  }

  open(): IommufdFile {
    return this.#file(new IommufdContext(this.#kernel), "/dev/iommu");
  }

  /**
   * open(2) of iommufd's own `/dev/vfio/vfio` (CONFIG_IOMMUFD_VFIO_CONTAINER; iommufd_fops_open): pins count against the
   * process, as VFIO counts them. A link to `/dev/iommu` is not that node, whatever it is called.
   */
  openContainer(): IommufdFile {
    if (!this.#saidWhoProvides) this.#kernel.log.print("iommufd: IOMMUFD is providing /dev/vfio/vfio, not VFIO.");
    this.#saidWhoProvides = true;
    return this.#file(new IommufdContext(this.#kernel, "process"), "/dev/vfio/vfio");
  }

  #file(context: IommufdContext, path: string): IommufdFile {
    this.#contexts.add(context);
    context.onRelease = () => this.#contexts.delete(context);
    return new IommufdFile(context, path);
  }

  /** Those that are open, by a descriptor or by a device, in the order they were made. */
  snapshots(): readonly IommufdSnapshot[] {
    return Array.from(this.#contexts, snapshotOf);
  }
}
