import type { Finder, Lifeline } from "./lifeline.js";
import { parentName } from "./machine-reader.js";

/** A device that repeats keys: EV_KEY and EV_REP (include/uapi/linux/input-event-codes.h). */
const KEY_AND_REPEAT = (1n << 0x01n) | (1n << 0x14n);

/** Keyboards, on a USB controller for example. */
export const findKeyboards: Finder = ({ reader, departures }) =>
  [...reader.targets("/sys/class/input")].flatMap(([name, path]): readonly Lifeline[] => {
    const departure = /^input\d+$/.test(name) ? departures.of(path) : undefined;
    if (departure === undefined) return [];
    const events = reader.text(`${path}/capabilities/ev`) ?? "";
    const bits = /^[0-9a-f]+$/.test(events) ? BigInt(`0x${events}`) : 0n;
    if ((bits & KEY_AND_REPEAT) !== KEY_AND_REPEAT) return [];
    const called = reader.text(`${path}/name`) ?? parentName(path);
    const message = `the keyboard "${called}" is on ${departure.place}`;
    return [{ kind: "keyboard", device: departure.device, cuts: false, message }];
  });
