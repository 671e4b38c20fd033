import type { PciIdentity } from "./device-model.js";
import { checkPciIdentity } from "./pci-identity.js";

// Offsets and bits of the PCI Local Bus Specification 3.0, chapter 6; names after include/uapi/linux/pci_regs.h.
const COMMAND = 0x04;
const STATUS = 0x06;
const BAR0 = 0x10;
const INTERRUPT_LINE = 0x3c;
const COMMAND_MEMORY = 1 << 1;
const COMMAND_MASTER = 1 << 2;
const COMMAND_INTX_DISABLE = 1 << 10;
/** Memory, bus master, parity, SERR and interrupt disable; the I/O bit stays 0, there are no I/O BARs. */
const COMMAND_WRITABLE = COMMAND_MEMORY | COMMAND_MASTER | (1 << 6) | (1 << 8) | COMMAND_INTX_DISABLE;
const STATUS_CAPABILITIES = 1 << 4;
const STATUS_INTERRUPT = 1 << 3;
const MSI = 0x40;
const MSI_CAPABILITY_ID = 0x05;
const MSI_FLAGS = MSI + 2;
const MSI_FLAGS_ENABLE = 1;
const MSI_FLAGS_64BIT = 1 << 7;
/** Bytes a conventional PCI function has. */
const CONFIG_SIZE = 256;

/** The configuration space of a PCI function with memory BARs and, if its identity says so, MSI. */
export class PciConfig {
  readonly size = CONFIG_SIZE;
  readonly #bytes = new Uint8Array(CONFIG_SIZE);
  readonly #writable = new Uint8Array(CONFIG_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);

  /**
   * @param barAddresses where the firmware placed the BARs, by index
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for what a configuration space cannot say
   */
  constructor(identity: PciIdentity, barAddresses: ReadonlyMap<number, number>) {
    checkPciIdentity(identity);
    this.#describe(identity);
    if (identity.bridge !== true) this.#describeEndpoint(identity, barAddresses);
    this.#setWritable(COMMAND, COMMAND_WRITABLE, 2);
    this.#setWritable(INTERRUPT_LINE, 0xff, 1);
  }

  get memoryEnabled(): boolean {
    return (this.#command & COMMAND_MEMORY) !== 0;
  }

  set memoryEnabled(enabled: boolean) {
    this.#setCommand(COMMAND_MEMORY, enabled);
  }

  get busMaster(): boolean {
    return (this.#command & COMMAND_MASTER) !== 0;
  }

  set busMaster(enabled: boolean) {
    this.#setCommand(COMMAND_MASTER, enabled);
  }

  get intxDisabled(): boolean {
    return (this.#command & COMMAND_INTX_DISABLE) !== 0;
  }

  /** The MSI capability's enable bit. It is the kernel's: programs cannot write it (vfio_pci_config.c, vfio_msi_config_write). */
  get msiEnabled(): boolean {
    return (this.#view.getUint16(MSI_FLAGS, true) & MSI_FLAGS_ENABLE) !== 0;
  }

  set msiEnabled(enabled: boolean) {
    const flags = this.#view.getUint16(MSI_FLAGS, true) & ~MSI_FLAGS_ENABLE;
    this.#view.setUint16(MSI_FLAGS, flags | (enabled ? MSI_FLAGS_ENABLE : 0), true);
  }

  /** Whether the function holds its INTx wire. */
  set interruptStatus(raised: boolean) {
    const status = this.#view.getUint16(STATUS, true) & ~STATUS_INTERRUPT;
    this.#view.setUint16(STATUS, status | (raised ? STATUS_INTERRUPT : 0), true);
  }

  /** A copy of all of it. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice();
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.#bytes.subarray(offset, offset + into.length));
  }

  /** Writes the bits that can be written. A BAR gives its size to whoever writes ones to it, and takes its address back. */
  write(offset: number, from: Uint8Array): void {
    for (const [index, byte] of from.entries()) {
      const at = offset + index;
      const mask = this.#writable[at] ?? 0;
      this.#bytes[at] = ((this.#bytes[at] ?? 0) & ~mask) | (byte & mask);
    }
  }

  get #command(): number {
    return this.#view.getUint16(COMMAND, true);
  }

  #setCommand(bit: number, on: boolean): void {
    this.#view.setUint16(COMMAND, on ? this.#command | bit : this.#command & ~bit, true);
  }

  #setWritable(offset: number, mask: number, width: 1 | 2 | 4): void {
    for (let byte = 0; byte < width; byte++) this.#writable[offset + byte] = (mask >>> (8 * byte)) & 0xff;
  }

  #describe({ vendor, device, classCode, revision = 0, bridge = false }: PciIdentity): void {
    this.#view.setUint16(0x00, vendor, true);
    this.#view.setUint16(0x02, device, true);
    this.#view.setUint32(0x08, ((classCode << 8) | revision) >>> 0, true);
    this.#bytes[0x0e] = bridge ? 1 : 0;
  }

  #describeEndpoint(identity: PciIdentity, barAddresses: ReadonlyMap<number, number>): void {
    this.#view.setUint16(0x2c, identity.subsystemVendor ?? 0, true);
    this.#view.setUint16(0x2e, identity.subsystem ?? 0, true);
    for (const { index, size } of identity.bars ?? []) {
      this.#view.setUint32(BAR0 + 4 * index, barAddresses.get(index) ?? 0, true);
      this.#setWritable(BAR0 + 4 * index, ~(size - 1), 4);
    }
    if (identity.intx === true) this.#bytes[0x3d] = 1;
    if (identity.msiVectors !== undefined) this.#describeMsi(identity.msiVectors);
  }

  #describeMsi(vectors: number): void {
    this.#view.setUint16(STATUS, STATUS_CAPABILITIES, true);
    this.#bytes[0x34] = MSI;
    this.#bytes[MSI] = MSI_CAPABILITY_ID;
    this.#view.setUint16(MSI_FLAGS, MSI_FLAGS_64BIT | (Math.log2(vectors) << 1), true);
    this.#setWritable(MSI + 4, 0xffff_fffc, 4);
    this.#setWritable(MSI + 8, 0xffff_ffff, 4);
    this.#setWritable(MSI + 12, 0xffff, 2);
  }
}
