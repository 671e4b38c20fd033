import type { FaultDevice } from "./fault.js";

const ADDRESS = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/i;

/** A device's PCI name in a log, with the domain that older kernels leave out; undefined for anything else. */
export function namedPciDevice(text: string): FaultDevice | undefined {
  const match = ADDRESS.exec(text);
  if (match === null) return undefined;
  const [, domain = "0000", bus, device, fn] = match;
  return { name: `${domain}:${bus}:${device}.${fn}`.toLowerCase(), from: "log" };
}

/** The requester ID that a PCI name stands for: bus, device, function in 16 bits. */
export function requesterId({ name }: FaultDevice): number | undefined {
  const [, , bus, device, fn] = ADDRESS.exec(name) ?? [];
  if (bus === undefined || device === undefined || fn === undefined) return undefined;
  return (Number.parseInt(bus, 16) << 8) | (Number.parseInt(device, 16) << 3) | Number(fn);
}

/**
 * Who a StreamID belongs to if it is a PCI requester ID; undefined for one of more than 16 bits, which none is. Firmware may
 * number platform devices as it likes, so this stays a guess.
 */
export function guessedDevice(streamId: number): FaultDevice | undefined {
  return streamId > 0xffff ? undefined : { name: pciDeviceName(0, streamId), from: "stream" };
}

/** `0000:02:00.0` */
export function pciDeviceName(domain: number, requesterId: number): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const [bus, device] = [requesterId >> 8, (requesterId >> 3) & 0x1f];
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(device, 2)}.${requesterId & 7}`;
}
