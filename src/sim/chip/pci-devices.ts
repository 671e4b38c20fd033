import { iommuMap, msiMap } from "../../devicetree/id-map.js";
import { type DeviceFactory, type DeviceKind, inert, type PciIdentity } from "../hw/device-model.js";
import { simulatedDevice } from "../hw/simulated-device.js";
import type { PciDescription } from "../linux/description.js";
import { placeBars } from "./bars.js";
import type { ChipDevice } from "./chip.js";
import type { DeviceModels } from "./device-models.js";
import { hasIsolatedMessages, isIsolatedMessage } from "./interrupts.js";
import { type PciFunction, pciFunctions } from "./pci-functions.js";
import type { PciHost } from "./pci-hosts.js";
import { pciIdentity } from "./pci-identity.js";
import { linkOf } from "./rates.js";
import { reservedRegions } from "./reserved-regions.js";
import type { Stream, Streams } from "./streams.js";

/** What the functions behind a host have in common. */
interface Routes {
  streamOf(requesterId: number): Stream | undefined;
  isIsolated(requesterId: number): boolean;
}

/** The PCI functions behind a host, bridges among them. */
export function pciDevices(host: PciHost, streams: Streams, models: DeviceModels): readonly ChipDevice[] {
  const routes = routesOf(host, streams);
  const functions = pciFunctions(host);
  const devices = functions.map((fn) => {
    const physicalFunction = physicalFunctionOf(fn, functions);
    const description = { ...pciDevice(fn, routes, models), ...(physicalFunction && { physicalFunction }) };
    return { node: fn.node, description };
  });
  const bars = placeBars(
    host,
    devices.map(({ description }) => description),
  );
  return devices.map(({ node, description }) => {
    const barAddresses = bars.get(description.name);
    return { node, description: { ...description, ...(barAddresses && { barAddresses }) } };
  });
}

function routesOf({ node: host }: PciHost, streams: Streams): Routes {
  const property = host.property("iommu-map");
  const iommus = iommuMap(host);
  const messages = msiMap(host);
  return {
    streamOf: (id) => (property && iommus ? streams.ofFunction(property, iommus, id) : undefined),
    isIsolated: (id) => (messages === undefined ? hasIsolatedMessages(host) : isIsolatedMessage(messages.lookUp(id))),
  };
}

function pciDevice(
  { node, name, requesterId, isBridge, behind }: PciFunction,
  routes: Routes,
  models: DeviceModels,
): PciDescription {
  if (node.has("iommus")) {
    node
      .required("iommus")
      .fail("means nothing for a PCI function", "map its requester ID: iommu-map of the PCIe host");
  }
  const known = models.modelOf(node);
  const identity = pciIdentity(node, isBridge, typeof known === "function" ? undefined : known?.pci);
  const stream = routes.streamOf(requesterId);
  const link = linkOf(node);
  return {
    bus: "pci",
    name,
    behind,
    msiIsolated: routes.isIsolated(requesterId),
    reserved: reservedRegions(node),
    model: modelWith(identity, known),
    ...(stream && { iommu: stream.smmu.description.name, streamId: stream.streamId }),
    ...(link && { link }),
  };
}

/** Linux makes virtual functions where a driver asks; here they have nodes, which say whose they are. */
function physicalFunctionOf({ node }: PciFunction, functions: readonly PciFunction[]): string | undefined {
  const property = node.property("iospan,physical-function");
  if (property === undefined) return undefined;
  const { target } = property;
  const physical = functions.find((fn) => fn.node === target);
  if (physical === undefined || target === node || target.has("iospan,physical-function")) {
    return property.fail(`refers to ${target.path}, which is no physical function behind the same host`);
  }
  return physical.name;
}

function modelWith(pci: PciIdentity, known: DeviceFactory | DeviceKind | undefined): DeviceKind {
  if (known === undefined) return inert(pci);
  return typeof known === "function"
    ? simulatedDevice(known, { pci })
    : { pci, create: (wiring) => known.create(wiring) };
}
