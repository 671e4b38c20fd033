import type { Tables } from "./tables.js";

/**
 * What the headers declare and we leave out: other architectures' IOMMUs and devices, graphics, and what the header itself
 * calls deprecated or has since removed.
 */
const leftOut = [
  /SPAPR|spapr|EEH|eeh|^VFIO_IOMMU_(ENABLE|DISABLE)$/,
  /^VFIO_TYPE1_NESTING_IOMMU$/,
  /GFX|gfx/,
  /CCW|_AP_|NVLINK|nvlink|REGION_SUBTYPE/,
  /MIGRATION_DEPRECATED|DEVICE_STATE_V1|vfio_device_migration_info|^VFIO_DEVICE_STATE_(MASK|VALID|IS_ERROR|SET_ERROR|NR)$/,
];

/** Names that are no part of the contract: include guards, the pieces our numbers are made of, strings, aliases. */
const notTables = [
  /^_?(VFIO|IOMMUFD)_H$/,
  /^(VFIO|IOMMUFD)_(TYPE|BASE)$|^IOMMUFD_CMD_/,
  /^VFIO_DEVICE_API_.*_STRING$/,
  /^__VFIO_RESERVED_/,
  /^IOMMU_HW_INFO_TYPE_DEFAULT$/,
  /^VFIO_IRQ_SET_(DATA|ACTION)_TYPE_MASK$|^VFIO_DEVICE_IOEVENTFD_SIZE_MASK$/,
];

/** The structs, macros and enumerators of a header's text that no table of ours has, though it should. */
export function missingFrom(covered: ReadonlySet<string>, headerText: string): readonly string[] {
  const excused = (name: string): boolean => [...leftOut, ...notTables].some((pattern) => pattern.test(name));
  return declaredNames(headerText).filter((name) => !covered.has(name) && !excused(name));
}

/** The C names that our tables cover. */
export function coveredNames(tables: Tables, cNames: Iterable<string>): ReadonlySet<string> {
  return new Set([
    ...tables.structs.map(({ name }) => name),
    ...tables.ioctls.map(({ name }) => name),
    ...tables.constants.map(([name]) => name),
    ...cNames,
  ]);
}

export function declaredNames(headerText: string): readonly string[] {
  const text = headerText.replaceAll(/\/\*[\s\S]*?\*\//g, " ");
  const structs = [...text.matchAll(/^struct (\w+) \{/gm)];
  const macros = [...text.matchAll(/^#define\s+(\w+)/gm)];
  const enumerators = [...text.matchAll(/^enum[^{]*\{([^}]*)\}/gm)].flatMap(([, body = ""]) => [
    ...body.matchAll(/^\s*(\w+)\s*(?:=|,|$)/gm),
  ]);
  return [...structs, ...macros, ...enumerators].map(([, name = ""]) => name);
}
