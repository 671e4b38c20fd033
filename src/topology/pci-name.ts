/** `0000:01:00.0` */
export function pciName(domain: number, requesterId: number): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const device = hex((requesterId >> 3) & 0x1f, 2);
  return `${hex(domain, 4)}:${hex(requesterId >> 8, 2)}:${device}.${requesterId & 7}`;
}
