import { baseName } from "../../machine/sysfs.js";
import type { Finder, Lifeline } from "./lifeline.js";

/** Who draws where the firmware left a picture, on a platform device of its own (drivers/firmware/sysfb.c). */
const FIRMWARE_SCREEN = /\/(simple-framebuffer|efi-framebuffer|vesa-framebuffer)\.\d+\//;

/** The screen that the console is drawn on: a frame buffer of the device's own, or the firmware's in a device's memory. */
export const findGraphics: Finder = ({ reader, departures }) => {
  const buffers = [...reader.targets("/sys/class/graphics")].filter(([name]) => /^fb\d+$/.test(name));
  const own = buffers.flatMap(([name, path]): readonly Lifeline[] => {
    const departure = departures.of(path);
    if (departure === undefined) return [];
    const message = `the screen ${name} is on ${departure.place}`;
    return [{ kind: "graphics", device: departure.device, cuts: true, message }];
  });
  const firmware = buffers.find(([, path]) => FIRMWARE_SCREEN.test(path));
  if (firmware === undefined) return own;
  const borrowed = departures.all
    .filter(({ path }) => reader.text(`${path}/boot_vga`) === "1")
    .map(({ device, place, path }): Lifeline => {
      const drawer = baseName(firmware[1].replace(/\/graphics\/.*$/, ""));
      const message = `the screen ${firmware[0]} (${drawer}) is drawn in the memory of ${place}`;
      return { kind: "graphics", device, cuts: !own.some((each) => each.device === baseName(path)), message };
    });
  return [...own, ...borrowed];
};
