/**
 * Pages that their exporter may take back: an importer's attachment to a dma-buf. What was taken back stays so, even when the
 * exporter would give it again (drivers/iommu/iommufd/pages.c, iopt_revoke_notify).
 */
export class Revocation {
  #revoked = false;
  readonly #users = new Map<object, () => void>();

  get isRevoked(): boolean {
    return this.#revoked;
  }

  /** @param leave takes the pages out of wherever the user has put them; called once at most */
  watch(user: object, leave: () => void): void {
    this.#users.set(user, leave);
  }

  revoke(): void {
    if (this.#revoked) return;
    for (const leave of this.#users.values()) leave();
    this.#users.clear();
    this.#revoked = true;
  }
}
