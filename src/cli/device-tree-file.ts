import { IospanError } from "../errors.js";
import { chipHint } from "./chip-file.js";

/** A comment, cpp's line markers, `/dts-v1/`: what a source can begin with. */
const SOURCE_STARTS = /^[/#]/;

/**
 * What `read` makes of a file's content, with the file named in what it throws.
 * @param file as the user named it.
 * @throws IospanError what `read` throws; for what does not begin as a device tree does, `ERR_IOSPAN_DEVICE_TREE` that says so.
 */
export function namingFile<T>(file: string, content: Uint8Array, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof IospanError) || error.code !== "ERR_IOSPAN_DEVICE_TREE") throw error;
    const other = whatElse(content);
    const [message, hint] =
      other === undefined
        ? [`${file}: ${error.message.replace(/^device tree: /, "")}`, error.hint]
        : [`${file} is no device tree: ${other}`, chipHint()];
    throw new IospanError(error.code, message, { hint, cause: error });
  }
}

/** Undefined for what may be a device tree with a mistake in it. */
function whatElse(content: Uint8Array): string | undefined {
  if (content.length === 0) return "it is empty";
  if (content.includes(0)) return content[0] === 0xd0 ? undefined : "it is no blob, which begins with 0xd00dfeed";
  const text = new TextDecoder().decode(content).trimStart();
  if (text === "") return "it is empty";
  if (SOURCE_STARTS.test(text)) return undefined;
  const isJson = text.startsWith("{");
  return `it does not begin with /dts-v1/${isJson ? ", and looks like JSON: --machine takes saved machines" : ""}`;
}
