import { acpiTable, TableWriter } from "./acpi-table.js";

/** A unit for the graphics alone, one for all else, and memory that firmware keeps for the graphics. */
export function dmar(): Uint8Array {
  const writer = new TableWriter().u8(38, 1).upTo(12);
  writer.u16(0, 24).u8(0, 0).u16(0).u64(0xfed90000n).u8(1, 8, 0, 0, 0, 0, 2, 0);
  writer.u16(0, 26).u8(1, 0).u16(0).u64(0xfed91000n).u8(2, 10, 0, 0, 0, 0, 0x1c, 0, 3, 1);
  writer.u16(1, 32).u16(0, 0).u64(0x7b800000n, 0x7bffffffn).u8(1, 8, 0, 0, 0, 0, 2, 0);
  writer.u16(4, 12).upTo(writer.length + 8);
  return acpiTable("DMAR", 1, writer.bytes);
}

/** A unit in an older and in a newer form, with a range, a single device and a named one; memory kept for the range. */
export function ivrs(): Uint8Array {
  const writer = new TableWriter().u32(0).u64(0n);
  writer.u8(0x10, 0).u16(28, 2, 0x40).u64(0xfd00_0000n).u16(1, 0).u32(0).u8(1, 0, 0, 0);
  writer
    .u8(0x11, 0)
    .u16(40 + 4 + 4 + 8 + 26, 2, 0x40)
    .u64(0xfd00_0000n)
    .u16(1, 0)
    .u32(0)
    .u64(0n, 0n);
  writer.u8(3).u16(0x08).u8(0).u8(4).u16(0xff).u8(0);
  writer.u8(70).u16(0x100).u8(0).u32(0);
  writer.u8(240).u16(0xa5).u8(0).u64(0n, 0n).u8(2, 4, 0x41, 0x42, 0x43, 0x44);
  writer.u8(0x22, 1).u16(32, 0x10, 0x20).u64(0n, 0x1000n, 0x2000n);
  return acpiTable("IVRS", 2, writer.bytes);
}
