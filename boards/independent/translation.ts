import { type Driver, driverOf } from "./drivers.js";
import { allNodes, type FlatNode, numbers, phandlesOf, strings } from "./flat-tree.js";

/** What stands in front of one thing that does DMA. */
export interface Translation {
  /** The node's path. */
  readonly path: string;
  /** What does DMA: the node, the functions behind a PCI host, or only what is on another bus. VFIO takes no PCI bridges. */
  readonly role: "device" | "functions" | "bus" | "bridge";
  /** Whether Linux makes a device of it at all: it and all above are okay. */
  readonly present: boolean;
  /** Paths of the IOMMUs that Linux programs for it, sorted; empty for none; undefined where a tree cannot tell. */
  readonly iommus: readonly string[] | undefined;
  /** Their drivers, files of drivers/iommu; empty where they are not known. */
  readonly drivers: readonly string[];
  /** Whether VFIO finds its DMA coherent. */
  readonly coherent: boolean;
}

/**
 * Which IOMMUs translate for which device, worked out a second time, as plainly as possible, from the bindings
 * (iommu.txt, arm,smmu.yaml; dt-schema's pci-iommu.yaml) and from what Linux 7.3 does with them
 * (drivers/iommu/of_iommu.c, drivers/of/base.c). `boards/agreement.ts` holds the topology and the plan to it.
 */
export function translations(root: FlatNode): ReadonlyMap<string, Translation> {
  const nodes = allNodes(root);
  const board: Board = {
    byPhandle: phandles(nodes),
    legacy: nodes.filter((node) => node.properties.has("mmu-masters")),
  };
  const found = nodes.filter((node) => isMaster(node, board)).map((node) => translationOf(node, board));
  return new Map(found.map((each) => [each.path, each]));
}

function translationOf(node: FlatNode, board: Board): Translation {
  const role = roleOf(node);
  const iommus = iommusOf(node, board);
  return {
    path: node.path,
    role,
    present: isAvailable(node),
    iommus: iommus?.map(({ path }) => path).sort(),
    drivers: (iommus ?? []).flatMap((iommu) => driverOf(strings(iommu, "compatible"))?.file ?? []),
    coherent: iommus?.every((iommu) => keepsCoherent(iommu, hostAbove(node) ?? node, board)) === true,
  };
}

function roleOf(node: FlatNode): Translation["role"] {
  if (hostAbove(node) !== undefined) return isPciBus(node) ? "bridge" : "device";
  if (node.properties.has("iommu-map") && isPciBus(node)) return "functions";
  return node.properties.has("iommu-map") && !node.properties.has("iommus") ? "bus" : "device";
}

/** What the driver tells VFIO of an IOMMU and a device behind it (vfio_main.c, __vfio_register_dev). */
function keepsCoherent(iommu: FlatNode, device: FlatNode, board: Board): boolean {
  switch (driverOf(strings(iommu, "compatible"))?.coherent) {
    case "yes":
      return true;
    case "if-iommu":
      return isCoherent(iommu, board);
    case "if-any":
      return isCoherent(iommu, board) || isCoherent(device, board);
    default:
      return false;
  }
}

/** What the nearest node says on the way that DMA takes (drivers/of/address.c, of_dma_is_coherent). */
function isCoherent(node: FlatNode | undefined, board: Board): boolean {
  if (node === undefined) return false;
  if (node.properties.has("dma-coherent")) return true;
  return !node.properties.has("dma-noncoherent") && isCoherent(dmaParent(node, board), board);
}

/** The interconnect that is called `dma-mem`, else the parent (drivers/of/address.c, __of_get_dma_parent). */
function dmaParent(node: FlatNode, { byPhandle }: Board): FlatNode | undefined {
  const index = strings(node, "interconnect-names").indexOf("dma-mem");
  const cells = numbers(node, "interconnects");
  for (let at = 0; index >= 0 && cells.length > 0; at++) {
    const target = byPhandle.get(cells.shift() ?? 0);
    if (at === index || target === undefined) return target ?? node.parent;
    cells.splice(0, numbers(target, "#interconnect-cells")[0] ?? 0);
  }
  return node.parent;
}

interface Board {
  readonly byPhandle: ReadonlyMap<number, FlatNode>;
  /** IOMMUs of the oldest binding. */
  readonly legacy: readonly FlatNode[];
}

function phandles(nodes: readonly FlatNode[]): ReadonlyMap<number, FlatNode> {
  return new Map(nodes.flatMap((node) => phandlesOf(node).map((phandle) => [phandle, node] as const)));
}

function isMaster(node: FlatNode, board: Board): boolean {
  if (node.properties.has("iommus") || node.properties.has("iommu-map")) return true;
  return hostAbove(node)?.properties.has("iommu-map") === true || legacyIommus(node, board).length > 0;
}

/** The node and all above have no status, or one of these two (drivers/of/base.c, __of_device_is_available). */
function isAvailable(node: FlatNode | undefined): boolean {
  if (node === undefined) return true;
  const [status] = node.properties.has("status") ? [strings(node, "status")[0] ?? ""] : ["okay"];
  return (status === "okay" || status === "ok") && isAvailable(node.parent);
}

function iommusOf(node: FlatNode, board: Board): readonly FlatNode[] | undefined {
  const host = hostAbove(node);
  if (host !== undefined) return throughMap(host, requesterId(node, host), board);
  const legacy = legacyIommus(node, board);
  if (legacy.length > 0) return settled(legacy);
  if (node.properties.has("iommus")) return settled(listed(node, board));
  return ofBus(node, board);
}

/** The IOMMUs of `iommus`, in its order, up to the first entry that names none (of_parse_phandle_with_args). */
function listed(node: FlatNode, { byPhandle }: Board): readonly FlatNode[] {
  const cells = numbers(node, "iommus");
  const found: FlatNode[] = [];
  while (cells.length > 0) {
    const iommu = byPhandle.get(cells.shift() ?? 0);
    const [width] = iommu === undefined ? [] : numbers(iommu, "#iommu-cells");
    if (iommu === undefined || width === undefined || cells.length < width) break;
    cells.splice(0, width);
    found.push(iommu);
  }
  return found;
}

/** Of the oldest binding of SMMUs: they name their masters, each with as many IDs as it says. */
function legacyIommus(node: FlatNode, { legacy, byPhandle }: Board): readonly FlatNode[] {
  return legacy.filter((iommu) => {
    const cells = numbers(iommu, "mmu-masters");
    while (cells.length > 0) {
      const master = byPhandle.get(cells.shift() ?? 0);
      if (master === undefined) return false;
      if (master === node) return true;
      cells.splice(0, numbers(master, "#stream-id-cells")[0] ?? 0);
    }
    return false;
  });
}

/** Which of them the driver takes; none if one is off, or has another driver (of_iommu_xlate, iommu_fwspec_init). */
function settled(iommus: readonly FlatNode[]): readonly FlatNode[] | undefined {
  const distinct = [...new Set(iommus)];
  if (!distinct.every(isAvailable)) return [];
  if (distinct.length < 2) return distinct;
  const drivers = new Set(distinct.map((iommu) => driverOf(strings(iommu, "compatible"))));
  const [driver] = drivers;
  if (drivers.has(undefined) || driver === undefined) return undefined;
  return drivers.size > 1 ? [] : choice(driver, distinct, iommus);
}

function choice(driver: Driver, distinct: readonly FlatNode[], entries: readonly FlatNode[]): readonly FlatNode[] {
  switch (driver.settles) {
    case "first":
      return distinct.slice(0, 1);
    case "last":
      return entries.slice(-1);
    case "all":
      return distinct;
    case "one":
      return [];
  }
}

/** The outermost PCI node above a PCI function; undefined for what is no function. */
function hostAbove(node: FlatNode): FlatNode | undefined {
  const { parent } = node;
  if (parent === undefined || !isPciBus(parent) || !node.properties.has("reg")) return undefined;
  return hostAbove(parent) ?? parent;
}

function isPciBus(node: FlatNode): boolean {
  return strings(node, "device_type")[0] === "pci" && numbers(node, "#address-cells")[0] === 3;
}

/** Bus, device and function are bits 8 to 23 of the first cell of `reg`; the bus is 0 where it is for Linux to give. */
function requesterId(node: FlatNode, host: FlatNode): number | undefined {
  const [high = 0] = numbers(node, "reg");
  const id = (high >>> 8) & 0xffff;
  if (id >> 8 !== 0 || node.parent === undefined) return id;
  const [bus] = numbers(node.parent, "bus-range");
  if (bus === undefined) return node.parent === host ? id : undefined;
  return (bus << 8) | id;
}

interface MapRow {
  readonly first: number;
  readonly iommu: FlatNode | undefined;
  readonly outputCells: number;
  readonly length: number;
}

/** The IOMMU of one ID: that of the first row that has the ID, if Linux gets so far (drivers/of/base.c, of_map_id). */
function throughMap(bus: FlatNode, id: number | undefined, board: Board): readonly FlatNode[] | undefined {
  const rows = mapRows(bus, board);
  if (id === undefined) return ofAnyFunction(rows.filter(isUsable));
  const [mask = 0xffff_ffff] = numbers(bus, "iommu-map-mask");
  const masked = (id & mask) >>> 0;
  const row = rows.find(({ first, length }) => masked >= first && masked - first < length);
  return row === undefined || !isUsable(row) ? [] : ofRow(row);
}

/** What has a map alone does no DMA: what is on it does, behind any of the IOMMUs there are rows for. */
function ofBus(bus: FlatNode, board: Board): readonly FlatNode[] | undefined {
  const rows = mapRows(bus, board).filter(isUsable);
  const found = [...new Set(rows.flatMap(ofRow))];
  return found.length > 1 ? undefined : found;
}

/** A function whose ID is not known may have that of any row. */
function ofAnyFunction(rows: readonly MapRow[]): readonly FlatNode[] | undefined {
  const targets = new Set(rows.map(({ iommu }) => iommu).filter((iommu) => iommu?.properties.has("#iommu-cells")));
  return targets.size > 1 ? undefined : rows.slice(0, 1).flatMap(ofRow);
}

function ofRow({ iommu }: MapRow): readonly FlatNode[] {
  return iommu?.properties.has("#iommu-cells") && isAvailable(iommu) ? [iommu] : [];
}

/** A row of no IDs maps nothing, and Linux does not know how to make a range IDs of several cells. */
function isUsable({ length, outputCells }: MapRow): boolean {
  return length === 1 || (length > 1 && outputCells < 2);
}

/**
 * The rows that Linux gets to: it ends at one that names no node, that is cut off, or whose ID has bits outside the mask. A
 * row has as many cells for the output as its target's IDs have; but see `isOldStyle`.
 */
function mapRows(bus: FlatNode, { byPhandle }: Board): readonly MapRow[] {
  const cells = numbers(bus, "iommu-map");
  const [mask = 0xffff_ffff] = numbers(bus, "iommu-map-mask");
  const isOld = isOldStyle(cells, byPhandle);
  const rows: MapRow[] = [];
  while (cells.length > 0) {
    const [first = 0, phandle = 0] = cells;
    const iommu = byPhandle.get(phandle);
    if (iommu === undefined || (first & ~mask) !== 0) break;
    const outputCells = isOld ? 1 : (numbers(iommu, "#iommu-cells")[0] ?? 1);
    const row = cells.splice(0, 3 + outputCells);
    if (row.length < 3 + outputCells) break;
    rows.push({ first, iommu, outputCells, length: row.at(-1) ?? 0 });
  }
  return rows;
}

/** Rows of four cells for a target whose IDs have two: all of one target, and one ID each (of_check_bad_map). */
function isOldStyle(cells: readonly number[], byPhandle: ReadonlyMap<number, FlatNode>): boolean {
  const target = byPhandle.get(cells[1] ?? 0);
  if (target === undefined || numbers(target, "#iommu-cells")[0] !== 2 || cells.length % 4 !== 0) return false;
  for (let at = 0; at < cells.length; at += 4) if (cells[at + 1] !== cells[1] || cells[at + 3] !== 1) return false;
  return true;
}
