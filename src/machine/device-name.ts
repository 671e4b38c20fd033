import { IospanError } from "../errors.js";
import { baseName } from "./sysfs.js";

// Domains beyond 16 bits exist: Intel VMD numbers its own from 0x10000.
const PCI_ADDRESS = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i;

/**
 * The kernel's name of a device from what people write: that name, a PCI address without its domain or in upper case
 * (`02:00.0`, `0000:0A:00.0`), or a path in sysfs.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for text that can name no device, and for what is no text.
 */
export function kernelName(text: string): string {
  if (typeof text !== "string") throw notText(text);
  const name = text.startsWith("/sys/") ? baseName(text) : text;
  if (name === "" || name === "." || name === ".." || /[/\n\0]/.test(name)) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${JSON.stringify(text)} is not the name of a device`, {
      hint: "name it as /sys/bus/pci/devices and /sys/bus/platform/devices do: 0000:02:00.0, 9030000.dma-port",
    });
  }
  const address = PCI_ADDRESS.exec(name);
  return address === null ? name : `${address[1] ?? "0000"}:${address[2]}`.toLowerCase();
}

/** Programs without types pass what they have of a device. */
function notText(value: unknown): IospanError {
  const found = value === null ? "null" : typeof value;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `a device is named by text, not by ${found}`, {
    hint: 'pass its name, which is the `name` of what findDevice() and listDevices() give: "0000:02:00.0"',
  });
}

/** Whether it is how the kernel names PCI devices, and nothing else. */
export function isPciName(name: string): boolean {
  return PCI_ADDRESS.exec(name)?.[1] !== undefined;
}

/** Up to three of `names` that `wanted` may be a slip of, nearest first: a few characters off, or one contained in the other. */
export function nearMisses(wanted: string, names: readonly string[]): readonly string[] {
  const furthest = Math.max(1, Math.floor(wanted.length / 4));
  return names
    .map((name) => ({ name, distance: contains(name, wanted) ? 1 : editDistance(name, wanted) }))
    .filter(({ distance }) => distance <= furthest)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ name }) => name);
}

/** Platform devices carry their address in front (`9030000.dma-port`), which is easily left out. Two letters match too much. */
function contains(name: string, wanted: string): boolean {
  const [shorter, longer] = name.length < wanted.length ? [name, wanted] : [wanted, name];
  return shorter.length > 2 && longer.toLowerCase().includes(shorter.toLowerCase());
}

/** Levenshtein's: insertions, deletions and substitutions of one character. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, character] of [...a].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= b.length; column++) {
      const substituted = (row[column - 1] ?? 0) + (character === b[column - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
