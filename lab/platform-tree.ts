/** As on the first bus: the four wires of each slot, shifted by one from slot to slot, are SPIs 3 to 6, level-triggered. */
const INTERRUPT_MAP = [0, 1, 2, 3]
  .flatMap((slot) => [0, 1, 2, 3].map((wire) => ({ slot, wire, spi: 3 + ((slot + wire) % 4) })))
  .map(({ slot, wire, spi }) => `<${slot << 11} 0 0 ${wire + 1} &{/intc@8000000} 0 0 0 ${spi} 4>`)
  .join(", ");

/**
 * What the device tree of QEMU's `virt` board lacks, or has too much of, for a machine with two SMMUs whose PCIe buses are
 * 0x00 to 0x1f and 0x20 to 0xff (`machines.ts`).
 *
 * The second SMMU is where QEMU puts it, hw/arm/virt.c: after the first in address and interrupt numbers. Linux has to be
 * told of the second root bus as a host bridge of its own, in a PCI domain of its own (drivers/pci/pci.c,
 * of_pci_reserve_static_domain_nr): a tree has no other word for it. Both get half of each window.
 *
 * The platform device takes over the GPIO controller, whose interrupt is level-triggered, in a frame of a page and one of half a
 * page, and the clock, whose alarm is taken as an edge.
 */
export const PLATFORM_TREE = `
/delete-node/ &{/gpio-keys};
/delete-node/ &{/pl061@9030000};
/delete-node/ &{/pl031@9010000};

&{/pcie@10000000} {
	bus-range = <0x00 0x1f>;
	reg = <0x40 0x10000000 0x0 0x2000000>;
	ranges = <0x1000000 0x0 0x0 0x0 0x3eff0000 0x0 0x8000>,
		 <0x2000000 0x0 0x10000000 0x0 0x10000000 0x0 0x10000000>,
		 <0x3000000 0x80 0x0 0x80 0x0 0x40 0x0>;
};

/ {
	second_smmu: smmuv3@c020000 {
		compatible = "arm,smmu-v3";
		reg = <0x0 0xc020000 0x0 0x20000>;
		#iommu-cells = <1>;
		dma-coherent;
		interrupts = <0 0x74 1>, <0 0x75 1>, <0 0x76 1>, <0 0x77 1>;
		interrupt-names = "eventq", "priq", "cmdq-sync", "gerror";
	};

	pcie@4012000000 {
		compatible = "pci-host-ecam-generic";
		device_type = "pci";
		reg = <0x40 0x12000000 0x0 0xe000000>;
		bus-range = <0x20 0xff>;
		linux,pci-domain = <1>;
		#address-cells = <3>;
		#size-cells = <2>;
		#interrupt-cells = <1>;
		interrupt-map-mask = <0x1800 0 0 7>;
		interrupt-map = ${INTERRUPT_MAP};
		ranges = <0x2000000 0x0 0x20000000 0x0 0x20000000 0x0 0x1eff0000>,
			 <0x3000000 0xc0 0x0 0xc0 0x0 0x40 0x0>;
		dma-coherent;
		msi-map = <0x2000 &{/intc@8000000/its@8080000} 0x2000 0xe000>;
		iommu-map = <0x2000 &second_smmu 0x2000 0xe000>;
	};

	dma-port@9030000 {
		compatible = "example,dual-path-dma-port";
		reg = <0x0 0x9030000 0x0 0x1000>, <0x0 0x9030000 0x0 0x800>, <0x0 0x9010000 0x0 0x1000>;
		interrupts = <0 7 4>, <0 2 1>;
		iommus = <&second_smmu 0x42>;
		dma-coherent;
	};
};
`;
