import type { Departure } from "./departures.js";
import type { Finder, Ground } from "./lifeline.js";

/** The kernel's consoles on serial lines and virtio ports. */
export const findConsoles: Finder = (ground) =>
  activeConsoles(ground).flatMap((name) => {
    const departure = consoleDeparture(ground, name);
    if (departure === undefined) return [];
    const message = `the kernel's console is ${name}, which is on ${departure.place}`;
    return [{ kind: "console", device: departure.device, cuts: true, message }];
  });

/** `ttyS0                -W- (EC p a)    4:64`, E for enabled (fs/proc/consoles.c); without it, sysfs lists the same. */
function activeConsoles({ reader }: Ground): readonly string[] {
  const listed = reader.lines("/proc/consoles").flatMap((line) => {
    const [, name, flags = ""] = /^(\S+)\s+\S+\s+\(([^)]*)\)/.exec(line) ?? [];
    return name !== undefined && flags.includes("E") ? [name] : [];
  });
  const known = listed.length > 0 ? listed : (reader.text("/sys/class/tty/console/active") ?? "").split(" ");
  return [...new Set(known.filter((name) => name !== ""))];
}

/** A virtio console's line is no child of its device's (drivers/tty/hvc/hvc_console.c): any virtio port may be behind it. */
function consoleDeparture({ reader, departures }: Ground, name: string): Departure | undefined {
  const own = departures.of(reader.target(`/sys/class/tty/${name}`));
  if (own !== undefined || !name.startsWith("hvc")) return own;
  const ports = [...reader.targets("/sys/class/virtio-ports").values()];
  return ports.map((path) => departures.of(path)).find((departure) => departure !== undefined);
}
