"""What certs answers and publishes: renewal and revocation of leaves, the trust bundle, rotation of the CA."""

from typing import Annotated, Literal

import msgspec

from interlock_common.messages.auth import THUMBPRINT
from interlock_common.messages.common import Actor

type Reason = Literal[
    "unspecified", "key_compromise", "ca_compromise", "affiliation_changed", "superseded", "cessation_of_operation",
    "privilege_withdrawn",
]  # fmt: skip
"""Why a certificate is revoked (RFC 5280, section 5.3.1)."""

type Step = Literal["prepare", "activate", "taint", "revoke"]
"""The steps of a rotation of the CA, in their order."""

type CaState = Literal["prepared", "active", "retiring", "tainted", "revoked"]

type _Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,64}$")]
type _Thumbprint = Annotated[str, msgspec.Meta(pattern=THUMBPRINT)]

type _Text = Annotated[str, msgspec.Meta(max_length=256)]


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
    """Bucket ``trust``, key ``bundle``: the PEM roots that count in this deployment.

    ``generation`` grows by one with each change. ``tainted`` has the key ids (hex) of roots whose leaves are to be
    replaced at once.
    """

    bundle: str
    generation: int
    tainted: tuple[str, ...] = ()


class ConfirmTrust(msgspec.Struct, frozen=True):
    """``svc.certs.trust.confirm.<service>``: this instance verifies by the bundle of that generation."""

    generation: int
    instance: Annotated[str, msgspec.Meta(max_length=64)]


class LeafSummary(msgspec.Struct, frozen=True):
    serial: str
    identity: str
    fingerprint: str
    not_before: int
    not_after: int
    issuer: str = ""
    revoked_at: int | None = None
    reason: Reason | None = None


class LeafList(msgspec.Struct, frozen=True):
    leaves: tuple[LeafSummary, ...]


class LeafIssued(msgspec.Struct, frozen=True):
    """Event ``evt.certs.leaf.issued``."""

    identity: str
    serial: str
    fingerprint: str
    not_after: int
    renewal: bool


class RevokeLeaf(msgspec.Struct, frozen=True):
    """``svc.certs.leaf.revoke``: one certificate, by its serial number.

    ``issuer``, the hex of its authority key id, is needed where another CA than certs has issued it: such a one is
    refused by the edges and stands in no CRL of ours.
    """

    actor: Actor
    serial: _Hex
    reason: Reason = "unspecified"
    issuer: _Hex | None = None
    fingerprint: _Text = ""
    subject: _Text = ""
    not_after: int | None = None


class RevokeIdentity(msgspec.Struct, frozen=True):
    """``svc.certs.identity.revoke``: every leaf of an identity; it gets no other one until it is reinstated."""

    actor: Actor
    identity: Annotated[str, msgspec.Meta(max_length=128)]
    reason: Reason = "unspecified"


class ReinstateIdentity(msgspec.Struct, frozen=True):
    """``svc.certs.identity.reinstate``: a revoked identity may join again; its revoked leaves stay revoked."""

    actor: Actor
    identity: Annotated[str, msgspec.Meta(max_length=128)]


class RevokedCertificate(msgspec.Struct, frozen=True):
    """Bucket ``revoked-certificates``, key ``<issuer>.<serial>``: a certificate that counts no longer.

    ``issuer`` is the authority key id and ``serial`` the serial number, both in lower-case hex; ``fingerprint`` is
    ``sha256:<hex>`` of the certificate, where it is known; ``at`` is in seconds since the epoch.
    """

    serial: str
    issuer: str
    fingerprint: str
    subject: str
    reason: Reason
    at: int


class Succeed(msgspec.Struct, frozen=True):
    """``svc.certs.certificate.succeed``: the holder of ``certificate`` has a new one, ``successor``.

    Both are thumbprints (``x5t#S256``, RFC 8705); ``not_after`` is when the successor ends, in seconds since the epoch.
    """

    certificate: _Thumbprint
    successor: _Thumbprint
    not_after: int
    principal: _Text = ""


class Successor(msgspec.Struct, frozen=True):
    """Bucket ``certificate-successors``, key = the thumbprint of a certificate: the one that was issued in its place.

    Tokens that are bound to the first work with the second as well; ``at`` is in seconds since the epoch.
    """

    thumbprint: str
    principal: str
    at: int


class CertificatesRevoked(msgspec.Struct, frozen=True):
    """What revoking did: the certificates, the connections to the bus that it ended, and how long that took.

    ``enforced`` is false while a server of the bus has not obeyed; it is asked again until it does.
    """

    revoked: tuple[RevokedCertificate, ...]
    connections_ended: int
    ms: float
    enforced: bool = True


class CaGeneration(msgspec.Struct, frozen=True):
    """One root of ours with the issuing CA below it."""

    number: int
    state: CaState
    root_fingerprint: str
    root_key_id: str
    not_before: int
    not_after: int


class Peer(msgspec.Struct, frozen=True):
    """A connection to the bus: which bundle it confirmed and which generation of the CA issued the leaf it shows."""

    identity: str
    instance: str
    bundle: int | None
    leaf: int | None


class AuthorityStatus(msgspec.Struct, frozen=True):
    """The CAs of the deployment and who follows; ``waiting_for`` keeps ``next_step`` from being safe."""

    generations: tuple[CaGeneration, ...]
    bundle: int
    peers: tuple[Peer, ...]
    next_step: Step
    waiting_for: tuple[str, ...] = ()


class RotateAuthority(msgspec.Struct, frozen=True):
    """``svc.certs.authority.rotate``: one step, refused with names while it is not safe."""

    actor: Actor
    step: Step


class LeafRevoked(msgspec.Struct, frozen=True):
    """Event ``evt.certs.leaf.revoked``."""

    identity: str
    serial: str
    issuer: str
    fingerprint: str
    reason: Reason


class LeafRefused(msgspec.Struct, frozen=True):
    """Event ``evt.certs.leaf.refused``: somebody asked for a leaf and got none."""

    identity: str
    code: str
    reason: str


class LeafExpiring(msgspec.Struct, frozen=True):
    """Event ``evt.certs.leaf.expiring``: a certificate should have been replaced by now."""

    identity: str
    serial: str
    not_after: int
    severity: Literal["warning", "error"]


class AuthorityRotated(msgspec.Struct, frozen=True):
    """Event ``evt.certs.authority.rotated``: a step was taken."""

    step: Step
    generation: int
    bundle: int


BUNDLE_KEY = "bundle"


def revoked_key(issuer: str, serial: str) -> str:
    """The key of a certificate in the bucket ``revoked-certificates``."""
    return f"{issuer}.{serial}"
