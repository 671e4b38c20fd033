import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { PROT_READ, PROT_WRITE } from "../../src/syscalls/mmap-flags.js";
import type { MmapRequest, Mmio, Syscalls } from "../../src/syscalls/syscalls.js";
import { Region, type RegionInfo } from "../../src/vfio/region.js";
import { errorOf, thrownBy } from "../support/errors.js";
import { fd, refused, strictSyscalls } from "../support/strict-syscalls.js";

const FILE_OFFSET = 7n << 40n;
const BASE = 0x7f00_0000_0000n;

/** One access that reached the device, as text. */
type Access = string;

/**
 * A device's file. A byte read through it is the low byte of its offset in the region, with the top bit set if it came
 * through a mapping; so a test sees which way an access took.
 */
function deviceFile(overrides: Partial<Syscalls> = {}) {
  const log: Access[] = [];
  const maps: MmapRequest[] = [];
  const regionOffset = (offset: bigint) => Number(offset - FILE_OFFSET);
  const syscalls = strictSyscalls({
    pread: (file, into, offset) => {
      log.push(`pread ${file} ${into.length} at ${regionOffset(offset)}`);
      for (const index of into.keys()) into[index] = (regionOffset(offset) + index) & 0x7f;
      return into.length;
    },
    pwrite: (file, from, offset) => {
      log.push(`pwrite ${file} [${from.join(" ")}] at ${regionOffset(offset)}`);
      return from.length;
    },
    mmap: (request) => {
      log.push(request.address === undefined ? `mmap ${regionOffset(request.offset ?? 0n)}` : "cover");
      if (request.address === undefined) maps.push(request);
      return request.address ?? BASE + BigInt(regionOffset(request.offset ?? 0n));
    },
    munmap: () => log.push("munmap"),
    view: (address, length) => {
      const start = Number(address - BASE);
      return Uint8Array.from({ length }, (_, index) => ((start + index) & 0x7f) | 0x80).buffer;
    },
    mmio: (view) => registers(view, log),
    ...overrides,
  });
  return { log, maps, syscalls };
}

/** Registers that tell of every access; offsets are those of the view. */
function registers(view: ArrayBuffer, log: Access[]): Mmio {
  const data = new DataView(view);
  const told = <T>(what: string, value: T): T => {
    log.push(`mmio ${what}`);
    return value;
  };
  return {
    read8: (at) => told(`read8 ${at}`, data.getUint8(at)),
    read16: (at) => told(`read16 ${at}`, data.getUint16(at, true)),
    read32: (at) => told(`read32 ${at}`, data.getUint32(at, true)),
    read64: (at) => told(`read64 ${at}`, data.getBigUint64(at, true)),
    write8: (at, value) => told(`write8 ${at}`, data.setUint8(at, value)),
    write16: (at, value) => told(`write16 ${at}`, data.setUint16(at, value, true)),
    write32: (at, value) => told(`write32 ${at}`, data.setUint32(at, value, true)),
    write64: (at, value) => told(`write64 ${at}`, data.setBigUint64(at, value, true)),
  };
}

const plain: RegionInfo = {
  index: 0,
  name: "bar0",
  size: 0x100,
  fileOffset: FILE_OFFSET,
  readable: true,
  writable: true,
  mmapAreas: [],
};
const mappable: RegionInfo = { ...plain, mmapAreas: [{ offset: 0, size: 0x100 }] };

function regionOf(info: Partial<RegionInfo>, overrides?: Partial<Syscalls>) {
  const file = deviceFile(overrides);
  return {
    ...file,
    region: new Region(file.syscalls, { name: "0000:02:00.0", iommu: "smmu3.0" }, fd(5), { ...plain, ...info }),
  };
}

describe("a region without a mapping", () => {
  it("is read through the device's file, one access of the width each, little-endian", () => {
    const { region, log } = regionOf(plain);
    expect(region.read8(0x11)).toBe(0x11);
    expect(region.read16(0x12)).toBe(0x1312);
    expect(region.read32(0x14)).toBe(0x17161514);
    expect(region.read64(0x18)).toBe(0x1f1e1d1c1b1a1918n);
    expect(log).toEqual(["pread 5 1 at 17", "pread 5 2 at 18", "pread 5 4 at 20", "pread 5 8 at 24"]);
  });

  it("is written the same way", () => {
    const { region, log } = regionOf(plain);
    region.write8(1, 0x01);
    region.write16(2, 0x0302);
    region.write32(4, 0x07060504);
    region.write64(8, 0x0f0e0d0c0b0a0908n);
    expect(log).toEqual([
      "pwrite 5 [1] at 1",
      "pwrite 5 [2 3] at 2",
      "pwrite 5 [4 5 6 7] at 4",
      "pwrite 5 [8 9 10 11 12 13 14 15] at 8",
    ]);
  });

  it("does not take a register for read or written that was transferred in part", () => {
    const { region } = regionOf(plain, { pread: () => 2, pwrite: () => 0 });
    for (const access of [() => region.read32(0), () => region.write32(0, 1), () => region.read(0, 4)]) {
      expect(errorOf(access)).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS", device: "0000:02:00.0" });
    }
    expect(errorOf(() => region.read32(0)).message).toContain("2 of 4 bytes");
  });

  it("explains what the kernel refuses", () => {
    const refuse = () => {
      throw refused("pread64", "EIO");
    };
    const { region } = regionOf(plain, { pread: refuse, pwrite: refuse });
    for (const access of [() => region.read8(0), () => region.write8(0, 0), () => region.read(0, 2)]) {
      const error = errorOf(access);
      expect(error).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS", errno: errno.EIO, device: "0000:02:00.0" });
      expect(error.message).toContain("bar0");
    }
  });
});

describe("a region with a mapping", () => {
  it("is mapped once, shared, when it is first accessed", () => {
    const { region, log, maps } = regionOf(mappable);
    expect(log).toEqual([]);
    region.read8(0);
    region.write8(1, 0);
    expect(maps).toEqual([{ length: 0x100, prot: PROT_READ | PROT_WRITE, flags: 1, fd: 5, offset: FILE_OFFSET }]);
  });

  it("is accessed in the mapping, one access of the width each", () => {
    const { region, log } = regionOf(mappable);
    expect(region.read8(0x11)).toBe(0x91);
    expect(region.read16(0x12)).toBe(0x9392);
    expect(region.read32(0x14)).toBe(0x97969594);
    expect(region.read64(0x18)).toBe(0x9f9e9d9c9b9a9998n);
    region.write8(0, 1);
    region.write16(2, 1);
    region.write32(4, 1);
    region.write64(8, 1n);
    expect([region.read8(0), region.read16(2), region.read32(4), region.read64(8)]).toEqual([1, 1, 1, 1n]);
    expect(log.filter((line) => !line.startsWith("mmio"))).toEqual(["mmap 0"]);
  });

  it("is mapped with the access it has", () => {
    const readOnly = regionOf({ ...mappable, writable: false });
    readOnly.region.read8(0);
    expect(readOnly.maps[0]?.prot).toBe(PROT_READ);
  });

  it("refuses to write what can only be read, where the processor would end the process", () => {
    const { region, log } = regionOf({ ...mappable, writable: false });
    const writes = [
      () => region.write8(0, 1),
      () => region.write16(0, 1),
      () => region.write32(0, 1),
      () => region.write64(0, 1n),
    ];
    for (const write of writes) expect(errorOf(write)).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS" });
    expect(log.filter((line) => line.startsWith("mmio"))).toEqual([]);
  });

  it("refuses to read what can only be written", () => {
    const { region } = regionOf({ ...mappable, readable: false });
    const reads = [() => region.read8(0), () => region.read16(0), () => region.read32(0), () => region.read64(0)];
    for (const read of reads) expect(errorOf(read)).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS" });
  });

  it("is still copied through the file, which does for any length", () => {
    const { region, log } = regionOf(mappable);
    expect([...region.read(3, 5)]).toEqual([3, 4, 5, 6, 7]);
    expect(log).toEqual(["pread 5 5 at 3"]);
  });

  it("is tried again when mapping it was refused", () => {
    let refusals = 1;
    const { region, log } = regionOf(mappable, {
      mmap: () => {
        if (refusals-- > 0) throw refused("mmap", "EINVAL");
        return BASE;
      },
    });
    const error = errorOf(() => region.read8(0));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS", syscall: "mmap", errno: errno.EINVAL });
    expect(region.read8(1)).toBe(0x81);
    expect(log).toEqual(["mmio read8 1"]);
  });
});

describe("a region of which parts may be mapped", () => {
  // Around a table at 0x40 to 0x5b, of which the tail shares a double word with registers that are mappable.
  const sparse = {
    mmapAreas: [
      { offset: 0, size: 0x40 },
      { offset: 0x5c, size: 0xa4 },
    ],
  };

  it("maps each part at its place in the file, and accesses each in its own mapping", () => {
    const { region, log, maps } = regionOf(sparse);
    expect(region.read32(0x3c)).toBe(0xbfbebdbc);
    expect(region.read32(0x5c)).toBe(0xdfdedddc);
    expect(region.read8(0xff)).toBe(0xff);
    expect(log).toEqual(["mmap 0", "mmio read32 60", "mmap 92", "mmio read32 0", "mmio read8 163"]);
    expect(maps.map(({ length, offset }) => [length, offset])).toEqual([
      [0x40, FILE_OFFSET],
      [0xa4, FILE_OFFSET + 0x5cn],
    ]);
  });

  it("goes through the file between them", () => {
    const { region, log } = regionOf(sparse);
    expect(region.read64(0x40)).toBe(0x4746454443424140n);
    region.write8(0x5b, 9);
    expect(log).toEqual(["pread 5 8 at 64", "pwrite 5 [9] at 91"]); // and nothing is mapped that is not touched
  });

  it("goes through the file for an access that only begins or only ends inside a part", () => {
    const { region, log } = regionOf(sparse);
    region.read64(0x58); // ends inside the second part
    region.write64(0x58, 0n);
    expect(log).toEqual(["pread 5 8 at 88", "pwrite 5 [0 0 0 0 0 0 0 0] at 88"]);
    const odd = regionOf({ mmapAreas: [{ offset: 0, size: 0x0c }] });
    odd.region.read64(8); // begins inside the first
    expect(odd.log).toEqual(["pread 5 8 at 8"]);
  });

  it("says that a part cannot be mapped, keeps the others, and tries again at the next touch", () => {
    let calls = 0;
    const { region } = regionOf(sparse, {
      mmap: ({ address }) => {
        if (address !== undefined) return address;
        calls += 1;
        if (calls === 2) throw refused("mmap", "ENOMEM");
        return BASE;
      },
    });
    region.read8(0);
    expect(errorOf(() => region.read8(0x60))).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS", errno: errno.ENOMEM });
    region.read8(0);
    expect(calls).toBe(2);
    region.read8(0x60);
    expect(calls).toBe(3);
  });

  it("gives back a part whose registers cannot be accessed", () => {
    const bug = new RangeError("byte length of BigUint64Array should be a multiple of 8");
    const given: bigint[] = [];
    const { region } = regionOf(mappable, {
      mmio: () => {
        throw bug;
      },
      mmap: ({ address }) => {
        if (address !== undefined) given.push(address);
        return address ?? BASE;
      },
      munmap: (address) => given.push(address),
    });
    expect(thrownBy(() => region.read8(0))).toBe(bug);
    expect(given).toEqual([BASE]);
  });
});

describe.each([
  ["without a mapping", plain],
  ["with a mapping", mappable],
])("a region %s", (_, info) => {
  it("ends where it ends, for every width", () => {
    const { region } = regionOf({ ...info, size: 0xfc });
    expect(region.read32(0xf8) & 0xff).toBe(info === plain ? 0x78 : 0xf8);
    for (const access of [
      () => region.read8(0xfc),
      () => region.read16(0xfc),
      () => region.read32(0xfc),
      () => region.read64(0xf8),
      () => region.write8(0xfc, 0),
      () => region.write64(0xf8, 0n),
      () => region.read8(-1),
      () => region.read8(0.5),
      () => region.read8(Number.NaN),
      () => region.read8(2 ** 53),
      () => region.read(0xf8, 5),
      () => region.read(0, -1),
      () => region.read(0, 1.5),
      () => region.read(-1, 1),
    ]) {
      const error = errorOf(access);
      expect(error, String(access)).toMatchObject({ code: "ERR_IOSPAN_REGION_RANGE", device: "0000:02:00.0" });
      expect(error.hint).toContain("0xfc");
    }
  });

  it("takes no misaligned access, and touches nothing then", () => {
    const { region, log } = regionOf(info);
    for (const access of [
      () => region.read16(1),
      () => region.read32(2),
      () => region.read64(4),
      () => region.write16(3, 0),
      () => region.write32(6, 0),
      () => region.write64(12, 0n),
    ]) {
      const error = errorOf(access);
      expect(error, String(access)).toMatchObject({ code: "ERR_IOSPAN_REGION_ACCESS" });
      expect(error.hint).toContain("multiple of");
    }
    expect(log).toEqual([]);
  });

  it("may be empty to a copy", () => {
    expect(regionOf(info).region.read(0x100, 0)).toHaveLength(0);
  });

  it("takes every value that fits, negative ones as JavaScript's bit operators give them", () => {
    const { region, log } = regionOf(info);
    region.write8(0, 0xff);
    region.write8(1, -128);
    region.write16(2, ~0);
    region.write32(4, 1 << 31);
    region.write32(8, 2 ** 32 - 1);
    region.write64(16, -1n);
    region.write64(24, 2n ** 64n - 1n);
    if (info === plain) {
      const ones = (count: number) => Array(count).fill(255).join(" ");
      expect(log.map((line) => line.replace("pwrite 5 ", ""))).toEqual([
        "[255] at 0",
        "[128] at 1",
        "[255 255] at 2",
        "[0 0 0 128] at 4",
        `[${ones(4)}] at 8`,
        `[${ones(8)}] at 16`,
        `[${ones(8)}] at 24`,
      ]);
    } else {
      expect([region.read8(0), region.read8(1), region.read16(2), region.read32(4), region.read32(8)]).toEqual([
        0xff, 0x80, 0xffff, 0x80000000, 0xffffffff,
      ]);
      expect([region.read64(16), region.read64(24)]).toEqual([2n ** 64n - 1n, 2n ** 64n - 1n]);
    }
  });

  it("takes no value that does not fit, and touches nothing then", () => {
    const { region, log } = regionOf(info);
    for (const write of [
      () => region.write8(0, 0x100),
      () => region.write8(0, -129),
      () => region.write8(0, 1.5),
      () => region.write8(0, Number.NaN),
      () => region.write16(0, 0x10000),
      () => region.write16(0, -0x8001),
      () => region.write32(0, 2 ** 32),
      () => region.write32(0, -(2 ** 31) - 1),
      () => region.write32(0, Number.POSITIVE_INFINITY),
      () => region.write64(0, 2n ** 64n),
      () => region.write64(0, -(2n ** 63n) - 1n),
    ]) {
      const error = errorOf(write);
      expect(error, String(write)).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", device: "0000:02:00.0" });
    }
    expect(log).toEqual([]);
  });

  it.each(["before the first access", "after one"])("throws once its device is closed, %s", (when) => {
    const { region, log } = regionOf(info);
    if (when === "after one") region.read8(0);
    region.close();
    log.length = 0;
    for (const access of [() => region.read32(0), () => region.write8(0, 1), () => region.read(0, 4)]) {
      const error = errorOf(access);
      expect(error).toMatchObject({ code: "ERR_IOSPAN_RELEASED", device: "0000:02:00.0" });
      expect(error.message).toContain("bar0");
    }
    expect(log).toEqual([]);
    region.close();
  });
});

describe("closing a region", () => {
  it("tells all that went wrong: with who else had the registers, and with the process's own", async () => {
    const area = { offset: 0, size: 0x40 };
    const { region } = regionOf(
      { mmapAreas: [area] },
      {
        mmap: ({ address }) => {
          if (address !== undefined) throw refused("mmap", "ENOMEM");
          return BASE;
        },
      },
    );
    region.read8(0);
    const user = (failure: string) => ({ what: "a mapping", end: async () => [failure], revoke: () => {} });
    region.users.add(user("first"));
    region.users.add(user("second"));
    await region.users.endAll();
    expect(region.close()).toMatchObject(["first", "second", { syscall: "mmap", errno: errno.ENOMEM }]);
    expect(region.close()).toEqual([]);
  });

  it("takes the registers away from those who hold them", () => {
    const { region, log } = regionOf(mappable);
    region.read8(0);
    region.close();
    expect(log.at(-1)).toBe("cover");
    expect(errorOf(() => region.read8(0))).toMatchObject({ code: "ERR_IOSPAN_RELEASED" });
  });

  it("takes all parts away before it reports that one would not go", () => {
    const covered: bigint[] = [];
    const { region } = regionOf(
      { mmapAreas: [0, 0x40, 0x80].map((offset) => ({ offset, size: 0x40 })) },
      {
        mmap: ({ address, offset }) => {
          if (address === undefined) return BASE + ((offset ?? 0n) - FILE_OFFSET);
          covered.push(address - BASE);
          if (address === BASE) throw refused("mmap", "ENOMEM");
          return address;
        },
      },
    );
    for (const offset of [0, 0x40, 0x80]) region.read8(offset);
    expect(region.close()).toMatchObject([{ syscall: "mmap", errno: errno.ENOMEM }]);
    expect(covered).toEqual([0n, 0n, 0x40n, 0x80n]); // the first is tried twice
    expect(errorOf(() => region.read8(0)).code).toBe("ERR_IOSPAN_RELEASED");
  });
});
