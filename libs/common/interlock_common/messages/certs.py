"""What certs answers and publishes: renewal of leaves, the trust bundle."""

import msgspec


class RenewLeaf(msgspec.Struct, frozen=True):
    """``svc.certs.leaf.renew.<service>``: a PEM request (RFC 2986) for the identity the service has."""

    csr: str


class IssuedLeaf(msgspec.Struct, frozen=True):
    """A PEM chain, leaf first, and the PEM trust bundle of the moment; times in seconds since the epoch."""

    chain: str
    bundle: str
    not_before: int
    not_after: int


class TrustBundle(msgspec.Struct, frozen=True):
    """Bucket ``trust``, key ``bundle``: the PEM roots that count in this deployment."""

    bundle: str
    generation: int


class LeafSummary(msgspec.Struct, frozen=True):
    serial: str
    identity: str
    fingerprint: str
    not_before: int
    not_after: int


class LeafList(msgspec.Struct, frozen=True):
    leaves: tuple[LeafSummary, ...]


class LeafIssued(msgspec.Struct, frozen=True):
    """Event ``evt.certs.leaf.issued``."""

    identity: str
    serial: str
    fingerprint: str
    not_after: int
    renewal: bool


BUNDLE_KEY = "bundle"
