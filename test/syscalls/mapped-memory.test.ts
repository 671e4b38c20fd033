import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { type FaultySyscalls, faulty } from "../../src/syscalls/faulty.js";
import { linuxSyscalls } from "../../src/syscalls/linux.js";
import { MappedMemory } from "../../src/syscalls/mapped-memory.js";
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../../src/syscalls/mmap-flags.js";
import type { MmapRequest } from "../../src/syscalls/syscalls.js";
import { children } from "../support/child.js";
import { errorOf, refusalOf } from "../support/errors.js";
import { isMapped, needsLinux } from "../support/linux-only.js";
import { MappedPages } from "../support/mapped-pages.js";
import { refused, strictSyscalls } from "../support/strict-syscalls.js";

const ANONYMOUS: Omit<MmapRequest, "length"> = { prot: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS };
const request = { ...ANONYMOUS, length: 8192 };

describe("MappedMemory on a kernel that only counts", () => {
  function counted(answers: { mmap?: () => bigint; munmap?: () => void } = {}) {
    const calls: string[] = [];
    const syscalls = strictSyscalls({
      mmap: ({ address, flags, prot, length }) => {
        calls.push(`mmap ${address ?? "anywhere"} ${length} prot ${prot} ${flags & MAP_FIXED ? "fixed" : "new"}`);
        return address === undefined ? 0x7000n : (answers.mmap?.() ?? address);
      },
      munmap: (address, length) => {
        calls.push(`munmap ${address} ${length}`);
        answers.munmap?.();
      },
      view: (_, length) => {
        calls.push("view");
        return new ArrayBuffer(length);
      },
    });
    return { calls, syscalls };
  }

  it("passes on what mmap is refused with", () => {
    const syscalls = strictSyscalls({
      mmap: () => {
        throw refused("mmap", "ENOMEM");
      },
    });
    expect(refusalOf(() => MappedMemory.map(syscalls, request)).errno).toBe(errno.ENOMEM);
  });

  it("makes one view, when it is first asked for", () => {
    const { calls, syscalls } = counted();
    const memory = MappedMemory.map(syscalls, request);
    expect(calls).toEqual(["mmap anywhere 8192 prot 3 new"]);
    expect(memory.buffer).toBe(memory.buffer);
    expect(calls).toEqual(["mmap anywhere 8192 prot 3 new", "view"]);
    expect(memory).toMatchObject({ address: 0x7000n, length: 8192, released: false });
  });

  it("is unmapped at once when nobody has seen its bytes, and only once", () => {
    const { calls, syscalls } = counted();
    const memory = MappedMemory.map(syscalls, request);
    memory.release();
    memory.release();
    memory[Symbol.dispose]();
    expect(memory.released).toBe(true);
    expect(calls.slice(1)).toEqual(["munmap 28672 8192"]);
  });

  it("is covered with zeros, readable and writable, when a view may be held", () => {
    const { calls, syscalls } = counted();
    const memory = MappedMemory.map(syscalls, request);
    const held = memory.buffer;
    memory.release();
    memory.release();
    expect(calls.slice(2)).toEqual(["mmap 28672 8192 prot 3 fixed"]);
    expect(held.byteLength).toBe(8192);
  });

  it("throws once it is released", () => {
    const { syscalls } = counted();
    const memory = MappedMemory.map(syscalls, request);
    memory.release();
    const error = errorOf(() => memory.buffer);
    expect(error.code).toBe("ERR_IOSPAN_RELEASED");
    expect(error.message).toContain("0x7000");
    expect(error.hint).toBeTruthy();
  });

  it.each(["mmap", "munmap"] as const)("tries a refused %s a second time", (call) => {
    let refusals = 1;
    const once = (): never | undefined => {
      if (refusals-- > 0) throw refused(call, "ENOMEM");
      return undefined;
    };
    const { calls, syscalls } = counted({ mmap: () => once() ?? 0x7000n, munmap: () => once() });
    const memory = MappedMemory.map(syscalls, request);
    if (call === "mmap") expect(memory.buffer.byteLength).toBe(8192);
    memory.release();
    expect(calls.filter((line) => line.startsWith(call === "mmap" ? "mmap 28672" : "munmap"))).toHaveLength(2);
    expect(memory.released).toBe(true);
  });

  it.each(["mmap", "munmap"] as const)("reports a %s refused twice, and counts as released", (call) => {
    const refuse = () => {
      throw refused(call, "ENOMEM");
    };
    const { calls, syscalls } = counted({ mmap: refuse, munmap: refuse });
    const memory = MappedMemory.map(syscalls, request);
    if (call === "mmap") expect(memory.buffer.byteLength).toBe(8192);
    expect(refusalOf(() => memory.release())).toMatchObject({ syscall: call, errno: errno.ENOMEM });
    expect(memory.released).toBe(true);
    expect(errorOf(() => memory.buffer).code).toBe("ERR_IOSPAN_RELEASED");
    const before = calls.length;
    memory.release();
    expect(calls).toHaveLength(before);
  });

  it("does not repeat what failed for a reason of its own", () => {
    const bug = new TypeError("a bug");
    const { calls, syscalls } = counted({
      munmap: () => {
        throw bug;
      },
    });
    const memory = MappedMemory.map(syscalls, request);
    expect(() => memory.release()).toThrow(bug);
    expect(calls).toHaveLength(2);
  });
});

describe("MappedMemory at an alignment", () => {
  const MIB = 2 ** 20;

  /** An address space where mmap gives whatever comes next after `next`, page by page. */
  function addressSpace(next: bigint) {
    const pages = new MappedPages();
    const inner = strictSyscalls({
      mmap: ({ address, length, flags }) => {
        if (address === undefined) return next;
        // Replacing is only for what is one's own.
        expect(flags & MAP_FIXED).toBe(MAP_FIXED);
        for (let at = address; at < address + BigInt(length); at += 4096n) expect(pages.addresses).toContain(at);
        return address;
      },
      munmap: () => {},
    });
    return { pages, syscalls: faulty(pages.watching(inner)) };
  }
  const lengths = fc.integer({ min: 1, max: 20 }).map((pages) => pages * 4096);
  const alignments = fc.integer({ min: 12, max: 17 }).map((shift) => 2 ** shift);
  const starts = fc.integer({ min: 1, max: 200 }).map((page) => BigInt(page) * 4096n);

  it("maps exactly what is asked for, at a multiple of the alignment", () => {
    fc.assert(
      fc.property(lengths, alignments, starts, (length, alignment, start) => {
        const { pages, syscalls } = addressSpace(start);
        const memory = MappedMemory.mapAligned(syscalls, { ...ANONYMOUS, length }, alignment);
        expect(memory.address % BigInt(alignment)).toBe(0n);
        expect(memory.length).toBe(length);
        expect(pages.addresses).toEqual(
          Array.from({ length: length / 4096 }, (_, page) => memory.address + BigInt(page) * 4096n),
        );
        memory.release();
        expect(pages.count).toBe(0);
      }),
    );
  });

  it("leaves nothing mapped, whichever call is refused", () => {
    fc.assert(
      fc.property(lengths, alignments, starts, fc.integer({ min: 1, max: 5 }), (length, alignment, start, nth) => {
        const { pages, syscalls } = addressSpace(start);
        syscalls.fault = { nth, errno: errno.ENOMEM };
        try {
          MappedMemory.mapAligned(syscalls, { ...ANONYMOUS, length }, alignment).release();
        } catch (error) {
          expect(error).toMatchObject({ errno: errno.ENOMEM });
        }
        expect({ failed: syscalls.failed, pages: pages.addresses }).toEqual({ failed: syscalls.failed, pages: [] });
      }),
    );
  });

  describe("on Linux", () => {
    needsLinux();

    it.each([1, 2, 16])("can be used, at a multiple of %i MiB, and leaves no surplus", (mebibytes) => {
      const pages = new MappedPages();
      const alignment = mebibytes * MIB;
      const memory = MappedMemory.mapAligned(pages.watching(linuxSyscalls()), { ...ANONYMOUS, length: MIB }, alignment);
      new Uint8Array(memory.buffer).fill(1);
      expect(memory.address % BigInt(alignment)).toBe(0n);
      expect(pages.count).toBe(MIB / 4096);
      memory.release();
    });
  });
});

describe("MappedMemory on Linux", () => {
  needsLinux();

  it("is gone from the address space after a release without views", () => {
    const memory = MappedMemory.map(linuxSyscalls(), request);
    expect(isMapped(memory.address, memory.length)).toBe(true);
    memory.release();
    expect(isMapped(memory.address, memory.length)).toBe(false);
  });

  it("does not keep its contents for a view that is kept", () => {
    const memory = MappedMemory.map(linuxSyscalls(), request);
    const view = new Uint8Array(memory.buffer).fill(7);
    memory.release();
    expect(view.every((byte) => byte === 0)).toBe(true);
    view.fill(9);
    expect([view[0], view.at(-1)]).toEqual([9, 9]);
    expect(isMapped(memory.address, memory.length)).toBe(true); // and so no other memory can come to lie there
  });

  it("retries through a fault of the kernel", () => {
    const syscalls: FaultySyscalls = faulty(linuxSyscalls());
    const memory = MappedMemory.map(syscalls, request);
    const view = new Uint8Array(memory.buffer).fill(7);
    syscalls.fault = { match: ({ name }) => name === "mmap", nth: 1, errno: errno.ENOMEM };
    memory.release();
    expect(syscalls).toMatchObject({ matched: 2, failed: { name: "mmap" } });
    expect([view[0], view.at(-1)]).toEqual([0, 0]);
  });
});

describe("MappedMemory in a process of its own", () => {
  needsLinux();
  const { run } = children();
  const PROLOGUE = `
    import * as fs from "node:fs";
    import { setImmediate } from "node:timers/promises";
    import { linuxSyscalls } from "src/syscalls/linux.js";
    import { MappedMemory } from "src/syscalls/mapped-memory.js";
    const syscalls = linuxSyscalls();
    const map = (length) => MappedMemory.map(syscalls, { length, prot: 3, flags: 0x22 });
    const inMaps = ({ address, length }) =>
      fs.readFileSync("/proc/self/maps", "utf8").trimEnd().split("\\n").some((line) => {
        const [start, end] = line.slice(0, line.indexOf(" ")).split("-").map((text) => BigInt("0x" + text));
        return start < address + BigInt(length) && end > address;
      });
    async function collected(until, turns = 500) {
      for (let turn = 0; turn < turns && !until(); turn += 1) {
        globalThis.gc();
        await setImmediate();
      }
      return until();
    }`;

  it("reads zeros and takes writes through every kind of view that outlived it", () => {
    const { signal, status, stdout, stderr } = run(`${PROLOGUE}
      const memory = map(65536);
      const views = [new Uint8Array(memory.buffer), new DataView(memory.buffer, 4096), syscalls.mmio(memory.buffer)];
      views[0].fill(7);
      memory.release();
      console.log(views[0][65535], views[1].getUint32(0), views[2].read64(8));
      views[0].fill(1); views[1].setUint8(0, 2); views[2].write32(16, 3);
      console.log(views[0][4096], views[0][16]);
    `);
    expect({ signal, status, stdout, stderr }).toEqual({
      signal: null,
      status: 0,
      stdout: "0 0 0n\n2 3\n",
      stderr: "",
    });
  });

  it("gives its addresses back once no view is left, and not before", () => {
    const { stdout, stderr } = run(
      `${PROLOGUE}
      const memory = map(1 << 20);
      let view = new Uint8Array(memory.buffer);
      memory.release();
      console.log(await collected(() => !inMaps(memory), 20), view[5]);
      view = undefined;
      console.log(await collected(() => !inMaps(memory)));
      `,
      "--expose-gc",
    );
    expect({ stdout, stderr }).toEqual({ stdout: "false 0\ntrue\n", stderr: "" });
  });

  it("crashes where it is not used: what these tests are about can be seen by them", () => {
    const { signal } = run(`${PROLOGUE}
      const address = syscalls.mmap({ length: 4096, prot: 3, flags: 0x22 });
      const view = new Uint8Array(syscalls.view(address, 4096));
      syscalls.munmap(address, 4096);
      view[0] = 1;
    `);
    expect(signal).toBe("SIGSEGV");
  });
});
