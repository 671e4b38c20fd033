// Values of Linux's asm-generic/mman-common.h, mman.h and linux/memfd.h; the same on x86-64, arm64 and riscv64.

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;

export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_POPULATE = 0x8000;
export const MAP_HUGETLB = 0x40000;

/** log2 of the huge page's size goes into the top bits of mmap's flags. */
export const MAP_HUGE_SHIFT = 26;

export const MADV_DONTFORK = 10;
export const MADV_HUGEPAGE = 14;
/** Since Linux 5.14; EINVAL before. */
export const MADV_POPULATE_WRITE = 23;

export const MFD_CLOEXEC = 0x1;
export const MFD_HUGETLB = 0x4;
/** The same encoding for memfd_create. */
export const MFD_HUGE_SHIFT = 26;

export const O_RDWR = 0o2;
