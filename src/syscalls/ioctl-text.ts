import { type Capability, type CapabilityTable, decodeCapabilities } from "../abi/capability.js";
import { type FieldText, type Following, printTexts, type Struct } from "../abi/codec.js";
import type { FdText, FieldType } from "../abi/fields.js";
import { cValueName, valueName } from "../abi/flags.js";
import type { Ioctl } from "../abi/ioctl.js";
import type { IoctlArgument } from "./syscalls.js";

/**
 * An ioctl's argument as text, field by field where it is a struct: with what follows the struct, and as `caps` the
 * capabilities its `cap_offset` leads to. Undefined for a call that takes none. Believes nothing of what the bytes say.
 */
export function ioctlText(
  { argument: kind, values, capabilities }: Ioctl,
  argument: IoctlArgument,
  fdText: FdText,
): string | readonly FieldText[] | undefined {
  if (typeof argument === "number") {
    if (kind === "none") return undefined;
    return values === undefined ? String(argument) : cValueName(values, argument);
  }
  if (kind === "string") return JSON.stringify(cString(argument));
  if (kind === "value" || kind === "none" || argument.length < kind.size) return bytesText(argument);
  const texts = structTexts(kind, argument, fdText);
  const first = kind.decode(argument)["cap_offset"];
  if (capabilities === undefined || typeof first !== "number" || first === 0) return texts;
  return [...texts, ["caps", chainText(capabilities, argument, first, fdText)]];
}

/** The text before the first NUL. */
export function cString(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
}

const SHOWN_BYTES = 16;

/** `[de 1b]`; of many bytes the first. */
export function bytesText(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `[${shown}${bytes.length > SHOWN_BYTES ? ` … ${bytes.length} bytes` : ""}]`;
}

function structTexts(struct: Struct, bytes: Uint8Array, fdText: FdText): readonly FieldText[] {
  const values = struct.decode(bytes);
  const texts = struct.texts(values, fdText);
  const following = struct.flexible?.follows?.(values);
  if (struct.flexible === undefined || following === undefined) return texts;
  return [...texts, [struct.flexible.name, followingText(following, bytes.subarray(struct.size), fdText)]];
}

const SHOWN_ELEMENTS = 32;

function followingText({ element, count }: Following, bytes: Uint8Array, fdText: FdText): string {
  if (count === undefined) return bytes.length < element.size ? bytesText(bytes) : valueText(element, bytes, fdText);
  const shown = Math.min(count, SHOWN_ELEMENTS, Math.floor(bytes.length / element.size));
  const texts = Array.from({ length: shown }, (_, index) =>
    valueText(element, bytes.subarray(index * element.size, (index + 1) * element.size), fdText),
  );
  if (shown < count) texts.push(`… ${count} in all`);
  return `[${texts.join(", ")}]`;
}

function valueText(type: FieldType, bytes: Uint8Array, fdText: FdText): string {
  if (isStruct(type)) return printTexts(structTexts(type, bytes, fdText));
  return type.print(type.get(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0), fdText);
}

function isStruct(type: FieldType): type is Struct {
  return "texts" in type;
}

function chainText(table: CapabilityTable, answer: Uint8Array, first: number, fdText: FdText): string {
  try {
    const chain = decodeCapabilities(answer, first);
    return `[${chain.map((capability) => capabilityText(table, capability, fdText)).join(", ")}]`;
  } catch (error) {
    return `(${error instanceof Error ? error.message : error})`;
  }
}

function capabilityText({ ids, layouts }: CapabilityTable, { id, version, bytes }: Capability, fdText: FdText): string {
  const name = valueName(ids, id);
  const layout = layouts[id];
  if (version !== 1 || (layout !== undefined && bytes.length < layout.size)) {
    return `${name} version ${version} ${bytesText(bytes)}`;
  }
  if (layout === undefined) return name;
  return `${name} ${printTexts(structTexts(layout, bytes, fdText).filter(([field]) => field !== "header"))}`;
}
