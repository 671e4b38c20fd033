import { type FieldText, printTexts } from "../abi/codec.js";
import { errnoName } from "../abi/errno.js";
import type { FdText } from "../abi/fields.js";
import { hex } from "../iova.js";
import { adviceText, mapFlagsText, memfdFlagsText, openFlagsText, protText } from "./flag-names.js";
import type { Call } from "./intercepted.js";
import { bytesText, ioctlText } from "./ioctl-text.js";
import { type MmapRequest, type ResourceLimit, SyscallError } from "./syscalls.js";

/** A call's argument as text, field by field where it is a struct; undefined where it has none. */
export type ArgumentText = string | readonly FieldText[] | undefined;

/** What a call takes besides its argument: `19</dev/vfio/vfio>, VFIO_IOMMU_MAP_DMA`. */
export function leadingTexts(call: Call, fdText: FdText): readonly string[] {
  const { name, fd, path, ioctl, flags, address, length, advice, offset, count } = call;
  const texts: string[] = [];
  if (fd !== undefined) texts.push(fdText(fd));
  if (path !== undefined) texts.push(JSON.stringify(path));
  if (ioctl !== undefined) texts.push(ioctl.name);
  if (flags !== undefined) texts.push(name === "openat" ? openFlagsText(flags) : memfdFlagsText(flags));
  if (address !== undefined) texts.push(hex(address));
  if (length !== undefined) texts.push(String(length));
  if (advice !== undefined) texts.push(adviceText(advice));
  if (offset !== undefined) texts.push(hex(offset));
  if (count !== undefined) texts.push(String(count));
  if (name === "getrlimit") texts.push("RLIMIT_MEMLOCK");
  return texts;
}

/** The argument as it is at the moment: the kernel writes into some. */
export function argumentText({ argument, ioctl }: Call, fdText: FdText): ArgumentText {
  if (argument === undefined) return undefined;
  if (typeof argument === "string") return JSON.stringify(argument);
  if (typeof argument === "number" || argument instanceof Uint8Array) {
    if (ioctl !== undefined) return ioctlText(ioctl, argument, fdText);
    return typeof argument === "number" ? String(argument) : bytesText(argument);
  }
  return mmapText(argument, fdText);
}

/** What the argument was, and behind an arrow what the kernel changed in it. */
export function changeText(before: ArgumentText, after: ArgumentText): string | undefined {
  if (before === undefined || after === undefined) return undefined;
  if (typeof before === "string" || typeof after === "string") {
    return before === after || typeof after !== "string" ? String(before) : `${before} => ${after}`;
  }
  const old = new Map(before);
  const changed = after.filter(([field, text]) => old.get(field) !== text);
  return changed.length === 0 ? printTexts(before) : `${printTexts(before)} => ${printTexts(changed)}`;
}

const SHOWN_CHARACTERS = 160;

/** A call's answer. */
export function resultText(result: unknown): string {
  if (typeof result === "number") return String(result);
  if (typeof result === "bigint") return hex(result);
  if (typeof result === "string") return quoted(result.trimEnd());
  if (Array.isArray(result)) return `${result.length} names`;
  if (result instanceof Uint8Array) return bytesText(result);
  return isLimit(result) ? `{soft=${result.soft}, hard=${result.hard}}` : "0";
}

/** Why a call was refused: `-1 EBUSY`. */
export function errorText(error: unknown): string {
  return error instanceof SyscallError ? `-1 ${errnoName(error.errno)}` : String(error);
}

function mmapText({ length, prot, flags, fd, offset, address }: MmapRequest, fdText: FdText): string {
  const texts = [`length=${length}`, `prot=${protText(prot)}`, `flags=${mapFlagsText(flags)}`];
  if (fd !== undefined) texts.push(`fd=${fdText(fd)}`);
  if (offset !== undefined) texts.push(`offset=${hex(offset)}`);
  if (address !== undefined) texts.push(`address=${hex(address)}`);
  return texts.join(", ");
}

function quoted(text: string): string {
  return text.length > SHOWN_CHARACTERS ? `${JSON.stringify(text.slice(0, SHOWN_CHARACTERS))}…` : JSON.stringify(text);
}

function isLimit(result: unknown): result is ResourceLimit {
  return typeof result === "object" && result !== null && "soft" in result && "hard" in result;
}
