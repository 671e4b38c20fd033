import type { IommuLink } from "./topology.js";

/** The kernel's link goes before firmware's to the same IOMMU, and takes its IDs; that it exists says that it is used. */
export function joinLinks(a: readonly IommuLink[], b: readonly IommuLink[]): readonly IommuLink[] {
  const live = a.find(({ via }) => via === "sysfs");
  const joined = a.map((link) => {
    const other = b.find(({ iommu }) => iommu === link.iommu);
    return other === undefined || link.ids.length > 0 ? link : { ...link, ids: other.ids, mask: other.mask };
  });
  const added = b.filter(({ iommu }) => !a.some((link) => link.iommu === iommu));
  // Of several that a driver programs alike, the kernel links one.
  const isOneOfAll = b.some(({ iommu, used }) => iommu === live?.iommu && used === true);
  return [
    ...joined,
    ...added.map((link) => {
      // The links of a bus are for the devices on it, and the kernel says nothing of them there.
      if (live === undefined || link.via === "iommu-map" || (isOneOfAll && link.used === true)) return link;
      return { ...link, used: false };
    }),
  ];
}
