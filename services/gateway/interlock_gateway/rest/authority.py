"""``/certificates``, which certs owns: revoking certificates and identities, and rotating the CA step by step."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from interlock_common.messages import subjects
from interlock_common.messages.certs import (
    AuthorityStatus,
    CertificatesRevoked,
    Reason,
    ReinstateIdentity,
    RevokeIdentity,
    RevokeLeaf,
    RotateAuthority,
    Step,
)
from interlock_common.messages.common import Empty, Page
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import Body

router = APIRouter(prefix="/certificates", tags=["certificates"])
_STEP_SECONDS = 30.0
"""A step is answered when the bus and the others follow it."""

type Serial = Annotated[str, Path(pattern=r"^[0-9a-fA-F]{1,64}$", description="the serial number in hex")]
type Identity = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
type Issuer = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]


class RevokedCertificateBody(Body):
    """Why; and what is known of a certificate that another CA issued."""

    reason: Reason = "unspecified"
    issuer: Annotated[
        Issuer | None, Field(description="its authority key id in hex, needed where certs did not issue it")
    ] = None
    fingerprint: Annotated[str, Field(max_length=256, description="sha256:<hex>")] = ""
    subject: Annotated[str, Field(max_length=256)] = ""
    not_after: Annotated[int | None, Field(ge=1, description="when it ends, in seconds since the epoch")] = None


class RevokedIdentityBody(Body):
    """Why an identity is revoked."""

    reason: Reason = "unspecified"


@router.post(
    "/identities/{identity}/revoke", responses=says(CertificatesRevoked),
    summary="Revoke every certificate of a service; it gets no other one",
)  # fmt: skip
async def revoke_identity(identity: Identity, body: RevokedIdentityBody, actor: CurrentActor, deps: Deps) -> Response:
    request = RevokeIdentity(actor, identity, body.reason)
    return answer(await deps.bus.request(subjects.CERTS_IDENTITY_REVOKE, request, CertificatesRevoked))


@router.post("/identities/{identity}/reinstate", responses=says(Empty), summary="Let a revoked service join again")
async def reinstate(identity: Identity, actor: CurrentActor, deps: Deps) -> Response:
    request = ReinstateIdentity(actor, identity)
    return answer(await deps.bus.request(subjects.CERTS_IDENTITY_REINSTATE, request, Empty))


@router.get("/authority", responses=says(AuthorityStatus), summary="The CAs, and who follows their rotation")
async def authority(actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.CERTS_AUTHORITY_STATUS, Page(actor), AuthorityStatus))


@router.post(
    "/authority/{step}", responses=says(AuthorityStatus),
    summary="Take a step of a rotation of the CA; refused with names while it is not safe",
)  # fmt: skip
async def rotate(step: Step, actor: CurrentActor, deps: Deps) -> Response:
    request = RotateAuthority(actor, step)
    return answer(
        await deps.bus.request(subjects.CERTS_AUTHORITY_ROTATE, request, AuthorityStatus, timeout=_STEP_SECONDS)
    )


@router.post(
    "/{serial}/revoke", responses=says(CertificatesRevoked), summary="Revoke a certificate, at once and everywhere"
)
async def revoke(serial: Serial, body: RevokedCertificateBody, actor: CurrentActor, deps: Deps) -> Response:
    request = RevokeLeaf(
        actor, serial.lower(), body.reason, body.issuer, body.fingerprint, body.subject, body.not_after
    )
    return answer(await deps.bus.request(subjects.CERTS_LEAF_REVOKE, request, CertificatesRevoked))
