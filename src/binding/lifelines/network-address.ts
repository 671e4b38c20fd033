/** The bytes of an IP address: 4 or 16; undefined for what is none. IPv4 inside IPv6 (`::ffff:10.0.2.2`) is IPv4. */
export function parseAddress(text: string): readonly number[] | undefined {
  const bytes = text.includes(":") ? parseIpv6(text.replace(/%.*$/, "")) : parseIpv4(text);
  if (bytes?.length !== 16) return bytes;
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return mapped ? bytes.slice(12) : bytes;
}

function parseIpv4(text: string): readonly number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) return undefined;
  return parts.map(Number);
}

function parseIpv6(text: string): readonly number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) => groups(half, index === halves.length - 1));
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  if (tail === undefined) return head.length === 16 ? head : undefined;
  const gap = 16 - head.length - tail.length;
  return gap < 2 ? undefined : [...head, ...new Array<number>(gap).fill(0), ...tail];
}

/** The address may end in an IPv4 address. */
function groups(text: string, isEnd: boolean): readonly number[] | undefined {
  const bytes: number[] = [];
  for (const [index, part] of (text === "" ? [] : text.split(":")).entries()) {
    const ipv4 = isEnd && part.includes(".") && index === text.split(":").length - 1 ? parseIpv4(part) : undefined;
    if (ipv4 !== undefined) bytes.push(...ipv4);
    else if (/^[0-9a-f]{1,4}$/i.test(part)) bytes.push(Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 255);
    else return undefined;
  }
  return bytes;
}

/** Whether the first `length` bits of two addresses of one family are the same. */
export function samePrefix(a: readonly number[], b: readonly number[], length: number): boolean {
  if (a.length !== b.length) return false;
  return a.every((byte, index) => {
    const bits = Math.min(8, Math.max(0, length - index * 8));
    const mask = (0xff00 >> bits) & 0xff;
    return (byte & mask) === ((b[index] ?? 0) & mask);
  });
}

/** `10.0.2.2`, `fd00::5` */
export function addressText(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, at) => ((bytes[at * 2] ?? 0) << 8) | (bytes[at * 2 + 1] ?? 0));
  const text = groups.map((group) => group.toString(16)).join(":");
  return text.replace(/(^|:)0(:0)+(:|$)/, "::");
}
