"""``/auth/certificate``: the client certificate of the caller, as the edge sees it, and the one that follows it."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied
from interlock_common.messages import subjects
from interlock_common.messages.certs import Succeed
from interlock_common.messages.common import Empty
from interlock_gateway.certificates.encodings import MAX_TEXT, der_of
from interlock_gateway.certificates.errors import CertificateUnreadable
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.shown import shown_by
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import Body

router = APIRouter(tags=["certificates"])


class SeenCertificate(msgspec.Struct, frozen=True):
    """A client certificate; ``not_after`` is in seconds since the epoch."""

    fingerprint: str
    thumbprint: str
    subject: str
    issuer: str
    serial: str
    emails: tuple[str, ...]
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    not_after: int


class SuccessorBody(Body):
    """The certificate that follows the one of the connection."""

    certificate: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, description="PEM")]


def own_certificate(request: Request) -> PeerCertificate:
    """The certificate that came with a request, checked when the request was let in; raises NotFound."""
    shown = shown_by(request.scope)
    if shown is None or shown.certificate is None:
        raise NotFound("no client certificate was shown on this connection")
    return shown.certificate


@router.get("/auth/certificate", responses=says(SeenCertificate), summary="Show one's own client certificate")
async def show(request: Request, actor: CurrentActor) -> Response:  # noqa: ARG001 - only for those who are let in
    return answer(_seen(own_certificate(request)))


@router.post(
    "/auth/certificate/successor", responses=says(SeenCertificate), summary="Name the successor of one's certificate"
)
async def succeed(request: Request, body: SuccessorBody, actor: CurrentActor, deps: Deps) -> Response:
    """Tokens that are bound to the certificate of this connection work with its successor from now on, too.

    Only who holds a certificate can name what follows it, and it must carry the same names.
    """
    present, successor = own_certificate(request), _given(body.certificate)
    if _names(successor) != _names(present):
        raise PermissionDenied("the successor of a certificate carries the same names")
    said = Succeed(present.thumbprint, successor.thumbprint, successor.not_after, actor.principal)
    await deps.bus.request(subjects.CERTS_CERTIFICATE_SUCCEED, said, Empty)
    return answer(_seen(successor))


def _names(peer: PeerCertificate) -> tuple[object, ...]:
    return peer.subject, set(peer.emails), set(peer.dns_names), set(peer.uris)


def _given(text: str) -> PeerCertificate:
    try:
        return PeerCertificate.of(der_of(text.encode()))
    except CertificateUnreadable as error:  # what is asked for is wrong, not who asks
        raise InvalidInput(error.detail, field="certificate") from None


def _seen(peer: PeerCertificate) -> SeenCertificate:
    return SeenCertificate(
        peer.fingerprint, peer.thumbprint, peer.subject, peer.issuer, peer.serial, peer.emails, peer.dns_names,
        peer.uris, peer.not_after,
    )  # fmt: skip
