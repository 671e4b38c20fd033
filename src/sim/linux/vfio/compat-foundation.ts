import type { KernelDevice } from "../drivers/device.js";
import type { BoundDevice } from "../iommufd/bound-device.js";
import type { IommufdFile } from "../iommufd/iommufd-file.js";
import { refuse } from "../refusal.js";
import type { Foundation } from "./vfio-device.js";

/**
 * What a device rests on that is opened through its group while that has an iommufd for a container: it is bound to the
 * iommufd, opened, and then attached to the address space of VFIO's container calls (drivers/vfio/group.c, vfio_df_group_open;
 * drivers/vfio/iommufd.c).
 */
export class CompatFoundation implements Foundation {
  readonly #file: IommufdFile;
  readonly #device: KernelDevice;
  #bound: BoundDevice | undefined;

  constructor(file: IommufdFile, device: KernelDevice) {
    this.#file = file;
    this.#device = device;
  }

  /** vfio_df_iommufd_bind. Here, and not in SET_CONTAINER, it turns out whether the group is viable. */
  use(): void {
    this.#bound = this.#file.context.bind(this.#device);
    this.#file.hold();
  }

  /** vfio_iommufd_compat_attach_ioas: every mapping there is gets pinned and entered now, or refused. */
  opened(): void {
    const ioas = this.#file.context.compatibleIoas ?? refuse("ENODEV");
    this.#bound?.attach(ioas.id);
  }

  /** vfio_df_iommufd_unbind. */
  unuse(): void {
    if (this.#bound === undefined) return;
    this.#file.context.unbind(this.#bound);
    this.#bound = undefined;
    this.#file.put();
  }
}
