import type { Finder, Lifeline } from "./lifeline.js";

/** Interrupt controllers that all interrupts, or all messages, of a part of the machine pass through. */
const CONTROLLERS = /(^|,)(gic|.*-gic|.*-its$|.*gic-v3-its|.*-plic|.*-imsics|.*-aplic)/;

/** Devices that the rest of the machine works by: IOMMUs, interrupt controllers, suppliers of others. */
export const findMachinery: Finder = (ground) => [
  ...findIommus(ground),
  ...findInterruptControllers(ground),
  ...findConsumers(ground),
];

const findIommus: Finder = ({ reader, departures }) =>
  [...reader.targets("/sys/class/iommu")].flatMap(([name, path]): readonly Lifeline[] => {
    const departure = departures.of(path);
    if (departure === undefined) return [];
    const message = `${departure.place} is the IOMMU ${name}, by which other devices do their DMA`;
    return [{ kind: "iommu", device: departure.device, cuts: true, message }];
  });

const findInterruptControllers: Finder = ({ reader, departures }) =>
  departures.all.flatMap(({ path, device, place }): readonly Lifeline[] => {
    const properties = reader.names(`${path}/of_node`);
    const compatible = (reader.text(`${path}/of_node/compatible`) ?? "").split("\0");
    const central = properties.includes("msi-controller") || compatible.some((each) => CONTROLLERS.test(each));
    if (!central && !properties.includes("interrupt-controller")) return [];
    const message = `${place} is an interrupt controller${central ? "" : ": devices that interrupt by it will not be heard"}`;
    return [{ kind: "interrupt-controller", device, cuts: central, message }];
  });

const findConsumers: Finder = ({ departures }) =>
  departures.consumers.map(({ device, consumer, driver }) => ({
    kind: "consumer",
    device,
    cuts: false,
    message: `${consumer} needs ${device}, and the kernel takes its driver (${driver}) from it first`,
  }));
