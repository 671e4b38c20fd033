import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_SET_IOMMU,
} from "../../../abi/vfio-container.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { OpenFile } from "../files/open-file.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import { refuse } from "../refusal.js";
import type { Type1Kernel } from "../type1/state.js";
import { Type1, type1Extension } from "../type1/type1.js";

/** A VFIO container (drivers/vfio/container.c). It lives while its file is open or a group is in it. */
export class VfioContainer {
  readonly #kernel: Type1Kernel;
  /** Most recently added first. */
  readonly #groups: IommuGroup[] = [];
  #backend: Type1 | undefined;
  #isOpen = true;

  constructor(kernel: Type1Kernel) {
    this.#kernel = kernel;
  }

  get groups(): readonly IommuGroup[] {
    return this.#groups;
  }

  /** Whether anything can still be done with it. */
  get isAlive(): boolean {
    return this.#isOpen || this.#groups.length > 0;
  }

  /** Its file is released. */
  closed(): void {
    this.#isOpen = false;
  }

  get backend(): Type1 | undefined {
    return this.#backend;
  }

  /** vfio_container_attach_group, after the checks of the group's own. */
  attachGroup(group: IommuGroup): void {
    group.claim(this);
    try {
      this.#backend?.attachGroup(group);
    } catch (error) {
      group.releaseClaim();
      throw error;
    }
    this.#groups.unshift(group);
  }

  /** With the last group go the backend and all mappings. */
  detachGroup(group: IommuGroup): void {
    this.#backend?.detachGroup(group);
    group.releaseClaim();
    this.#groups.splice(this.#groups.indexOf(group), 1);
    if (this.#groups.length === 0) this.#backend = undefined;
  }

  ioctl(request: number, argument: IoctlArgument): number {
    switch (request) {
      case VFIO_GET_API_VERSION.request:
        return VFIO_API_VERSION;
      case VFIO_CHECK_EXTENSION.request:
        return this.#checkExtension(Number(argument));
      case VFIO_SET_IOMMU.request:
        return this.#setIommu(Number(argument));
      default:
        // Even what no backend knows, while there is none.
        return this.#backend?.ioctl(request, argument) ?? refuse("EINVAL");
    }
  }

  #checkExtension(extension: number): number {
    return this.#backend?.checkExtension(extension) ?? type1Extension(this.#kernel.profile, extension);
  }

  /** vfio_ioctl_set_iommu. */
  #setIommu(type: number): number {
    if (this.#groups.length === 0 || this.#backend !== undefined) refuse("EINVAL");
    if (!isBackendType(type) || type1Extension(this.#kernel.profile, type) === 0) refuse("ENODEV");
    const backend = new Type1(this.#kernel, type);
    this.#attachAll(backend);
    this.#backend = backend;
    return 0;
  }

  #attachAll(backend: Type1): void {
    const attached: IommuGroup[] = [];
    try {
      for (const group of this.#groups) {
        backend.attachGroup(group);
        attached.unshift(group);
      }
    } catch (error) {
      for (const group of attached) backend.detachGroup(group);
      throw error;
    }
  }
}

/** vfio_iommu_type1_open; CHECK_EXTENSION also answers for numbers that are no type. */
function isBackendType(type: number): boolean {
  return type === VFIO_EXTENSION.TYPE1_IOMMU || type === VFIO_EXTENSION.TYPE1v2_IOMMU || type === 6;
}

/** An open `/dev/vfio/vfio`: each open makes a container. */
export class ContainerFile extends OpenFile {
  readonly path = "/dev/vfio/vfio";
  readonly container: VfioContainer;

  constructor(container: VfioContainer) {
    super();
    this.container = container;
  }

  override ioctl(request: number, argument: IoctlArgument): number {
    return this.container.ioctl(request, argument);
  }

  protected release(): void {
    this.container.closed();
  }
}
