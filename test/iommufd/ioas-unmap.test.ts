import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { IOMMU_IOAS_MAP, IOMMU_IOAS_UNMAP, ioasMap, ioasUnmap } from "../../src/abi/iommufd-ioas.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { iova } from "../../src/iova.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { type Call, intercepted } from "../../src/syscalls/intercepted.js";
import { MAP_ANONYMOUS, MAP_PRIVATE } from "../../src/syscalls/mmap-flags.js";
import { type Fd, SyscallError } from "../../src/syscalls/syscalls.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { kernelWithIommufd } from "./rig.js";

const PAGE = 4096;
const AT = iova(0x10000);

/** An address space with mappings of a page each, side by side. */
async function bench(pages: number, interfere?: (call: Call, kernel: ReturnType<typeof kernelWithIommufd>) => void) {
  const kernel = kernelWithIommufd();
  const calls: string[] = [];
  const watched = intercepted(kernel, (call, proceed) => {
    if (call.name === "ioctl") calls.push(call.ioctl?.name.replace("IOMMU_", "").replace("IOAS_", "") ?? "");
    interfere?.(call, kernel);
    return proceed();
  });
  const syscalls = faulty(watched);
  const ioas = Ioas.allocate(await Iommufd.open(syscalls));
  const address = kernel.mmap({ length: pages * PAGE, prot: 3, flags: MAP_PRIVATE | MAP_ANONYMOUS });
  const page = (index: number) => iova(AT + BigInt(index * PAGE));
  for (let index = 0; index < pages; index++) {
    ioas.map({ iova: page(index), address, size: PAGE, access: "read" });
  }
  calls.length = 0;
  const areas = () => kernel.iommufds[0]?.ioases.find(({ id }) => id === ioas.id)?.areas.length;
  return { kernel, syscalls, ioas, address, page, areas, calls };
}

const isUnmap = ({ ioctl, argument }: Call, size: number): boolean =>
  ioctl?.name === "IOMMU_IOAS_UNMAP" && ioasUnmap.decode(argument as Uint8Array).length === BigInt(size);

/** The kernel stops with this answer when it has unmapped so many of the pages that it was asked to. */
const stoppingAfter = (done: number, asked: number, answer: ErrnoName) => {
  return (call: Call, kernel: ReturnType<typeof kernelWithIommufd>): void => {
    if (!isUnmap(call, asked * PAGE)) return;
    const { ioas_id, iova: start } = ioasUnmap.decode(call.argument as Uint8Array);
    for (let index = 0; index < done; index++) {
      const part = ioasUnmap.encode({ ioas_id, iova: start + BigInt(index * PAGE), length: PAGE });
      kernel.ioctl(call.fd as Fd, IOMMU_IOAS_UNMAP, part);
    }
    throw new SyscallError("IOMMU_IOAS_UNMAP", errno[answer], answer);
  };
};

describe("an unmap at which the kernel stops", () => {
  it.each(["EBUSY", "EDEADLK"] as const)(
    "says that a part is gone, with %s, and goes on when asked again",
    async (answer) => {
      for (const way of ["unmap", "unmapAsync"] as const) {
        const { ioas, areas, page } = await bench(4, stoppingAfter(2, 4, answer));
        const error = await errorFrom((async () => ioas[way](AT, 4 * PAGE))());
        expect(error).toMatchObject({
          code: "ERR_IOSPAN_UNMAP_REFUSED",
          syscall: "IOMMU_IOAS_UNMAP",
          errnoName: answer,
        });
        expect(error.message).toContain("in part only: not all of them are mapped now");
        expect(error.hint).toContain("isMapped()");
        expect(areas()).toBe(2);
        expect([0, 1, 2, 3].map((index) => ioas.isMapped(page(index), 4096n))).toEqual([false, false, true, true]);
        expect(await ioas[way](page(2), 2 * PAGE)).toBe(2 * PAGE);
        expect(areas()).toBe(0);
      }
    },
  );

  it("says nothing of parts where all is still mapped", async () => {
    const { ioas, areas } = await bench(4, stoppingAfter(0, 4, "EBUSY"));
    const error = errorOf(() => ioas.unmap(AT, 4 * PAGE));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", errnoName: "EBUSY" });
    expect(error.message).not.toContain("in part");
    expect(areas()).toBe(4);
  });

  it("forgets what it knew of a part that is gone, so that the kernel is asked what is there now", async () => {
    const { ioas, calls } = await bench(4, stoppingAfter(2, 4, "EBUSY"));
    errorOf(() => ioas.unmap(AT, 4 * PAGE));
    calls.length = 0;
    expect(ioas.unmap(AT, PAGE)).toBe(0);
    expect(calls[0]).toBe("ALLOC");
  });

  it("stays the error to report where nobody can tell what is left", async () => {
    const { ioas, syscalls } = await bench(4, stoppingAfter(2, 4, "EBUSY"));
    // Asking for cuts needs one, too.
    syscalls.fault = { match: ({ ioctl }) => ioctl?.name === "IOMMU_IOAS_ALLOC", nth: 2, errno: errno.ENOMEM };
    const error = errorOf(() => ioas.unmap(AT, 4 * PAGE));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", errnoName: "EBUSY" });
    expect(error.message).toContain("what is left of them could not be asked");
    expect((error.cause as AggregateError).errors).toMatchObject([
      { syscall: "IOMMU_IOAS_UNMAP", errno: errno.EBUSY },
      { syscall: "IOMMU_IOAS_ALLOC", errnoName: "ENOMEM" },
    ]);
  });

  it("tells a mapping that is cut after all from an empty range", async () => {
    // Somebody maps over the end of the range when it has been looked at.
    const { ioas, page } = await bench(1, (call, kernel) => {
      if (!isUnmap(call, 4 * PAGE)) return;
      const user_va = kernel.mmap({ length: 4 * PAGE, prot: 3, flags: MAP_PRIVATE | MAP_ANONYMOUS });
      const { ioas_id } = ioasUnmap.decode(call.argument as Uint8Array);
      const wish = { ioas_id, flags: 7, user_va, iova: AT + BigInt(2 * PAGE), length: 4 * PAGE };
      kernel.ioctl(call.fd as Fd, IOMMU_IOAS_MAP, ioasMap.encode(wish));
    });
    const error = errorOf(() => ioas.unmap(AT, 4 * PAGE));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", errnoName: "ENOENT" });
    expect(error.message).toContain("in part only");
    expect(ioas.isMapped(page(2), 4096n)).toBe(true);
  });

  it("asks nothing more for a range that is none", async () => {
    const { ioas, calls, areas } = await bench(1);
    expect(errorOf(() => ioas.unmap(AT, 0))).toMatchObject({ code: "ERR_IOSPAN_UNMAP_REFUSED", errnoName: "EINVAL" });
    expect(calls).toEqual(["ALLOC", "COPY", "COPY", "DESTROY", "UNMAP"]);
    expect(areas()).toBe(1);
    for (const size of [0.5, -PAGE, Number.NaN]) {
      expect(errorOf(() => ioas.unmap(AT, size)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
      expect((await errorFrom(ioas.unmapAsync(AT, size))).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    }
  });
});

describe("unmapping off the event loop", () => {
  it("asks off the event loop whether anything is cut", async () => {
    const { ioas, syscalls, kernel } = await bench(4);
    const sync: string[] = [];
    const ioctl = kernel.ioctl.bind(kernel);
    kernel.ioctl = (fd, call, argument) => {
      sync.push(call.name);
      return ioctl(fd, call, argument);
    };
    kernel.ioctlAsync = async (fd, call, argument) => ioctl(fd, call, argument);
    expect(await ioas.unmapAsync(AT, 2 * PAGE)).toBe(2 * PAGE);
    expect(await ioas.unmapAsync(iova(AT + BigInt(2 * PAGE)), PAGE)).toBe(PAGE);
    expect((await errorFrom(ioas.unmapAsync(iova(AT + 0x3800n), PAGE))).code).toBe("ERR_IOSPAN_UNMAP_REFUSED");
    syscalls.fault = { match: ({ ioctl: call }) => call?.name === "IOMMU_IOAS_UNMAP", nth: 1, errno: errno.EBUSY };
    expect((await errorFrom(ioas.unmapAsync(iova(AT + BigInt(3 * PAGE)), PAGE))).errnoName).toBe("EBUSY");
    expect(sync).toEqual([]);
  });
});
