"""The enrolment listener: EST (RFC 7030) for whoever has a token and no certificate yet, or shows its present one."""

import asyncio
import base64
from http import HTTPStatus
from typing import Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from interlock_certs.csr_attributes import WANTED
from interlock_certs.errors import JoinRefused, NotOffered, RequestRejected, WrongMediaType
from interlock_certs.issuing import Issuing
from interlock_certs.listener import SHOWN
from interlock_common import problem
from interlock_common.errors import DeadlineExceeded, InterlockError, InvalidInput, TooLarge

_log = structlog.get_logger()
_EST = "/.well-known/est"
_MAX_BODY = 64 * 1024
_BODY_SECONDS = 10.0
_PKCS10 = "application/pkcs10"
_CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
_ATTRIBUTES = "application/csrattrs"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="interlock enrolment", charset="UTF-8"'}


class CaCertificates(Protocol):
    @property
    def certificates(self) -> list[x509.Certificate]: ...


def create_app(authority: CaCertificates, issuing: Issuing) -> FastAPI:
    """The listener's application; it answers errors as problem documents (RFC 9457)."""
    app = FastAPI(title="Interlock enrolment", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(InterlockError, _refuse)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _unexpected)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.get(f"{_EST}/cacerts")
    async def cacerts() -> Response:
        return _certificates(authority.certificates)

    @app.get(f"{_EST}/csrattrs")
    async def csrattrs() -> Response:
        return _encoded(WANTED, _ATTRIBUTES)

    @app.post(f"{_EST}/simpleenroll")
    async def simpleenroll(request: Request) -> Response:
        identity, token = _credentials(request.headers.get("authorization", ""))
        leaf = await issuing.enrol(identity, token, await _csr(request))
        return _certificates([leaf.certificate])

    @app.post(f"{_EST}/simplereenroll")
    async def simplereenroll(request: Request) -> Response:
        leaf = await issuing.reenrol(_shown(request), await _csr(request))
        return _certificates([leaf.certificate])

    @app.post(f"{_EST}/serverkeygen")
    async def serverkeygen() -> Response:
        raise NotOffered("keys are made by their owners and never leave them")

    @app.post(f"{_EST}/fullcmc")
    async def fullcmc() -> Response:
        raise NotOffered("there is no full CMC: use simpleenroll and simplereenroll")

    return app


def _certificates(certificates: list[x509.Certificate]) -> Response:
    """A certs-only PKCS#7 (RFC 7030, section 4.1.3)."""
    return _encoded(pkcs7.serialize_certificates(certificates, Encoding.DER), _CERTS_ONLY)


def _encoded(der: bytes, media_type: str) -> Response:
    """A body as EST has them: base64 in one line (RFC 8951, section 3.1), since not every client takes breaks."""
    return Response(base64.b64encode(der), media_type=media_type, headers={"Content-Transfer-Encoding": "base64"})


def _credentials(header: str) -> tuple[str | None, str]:
    """Identity and token by HTTP Basic (RFC 7030, section 3.2.3), or the token alone as a bearer."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer" and value:
        return None, value.strip()
    try:
        identity, separator, token = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        identity = separator = token = ""
    if scheme.lower() != "basic" or not separator:
        raise JoinRefused("enrolling needs HTTP Basic with the identity and its join token, or the token as bearer")
    return identity, token


def _shown(request: Request) -> x509.Certificate:
    """The certificate of the connection, which the handshake has verified."""
    der: bytes | None = request.scope.get(SHOWN)
    if not der:
        raise JoinRefused("re-enrolling needs the present certificate, shown in the TLS handshake")
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        raise JoinRefused("the certificate of the connection cannot be read") from None


async def _csr(request: Request) -> bytes:
    announced = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if announced != _PKCS10:
        raise WrongMediaType(f"the body must be announced as Content-Type: {_PKCS10}")
    body = b"".join((await _body(request)).split())
    if body.startswith(b"-----"):
        raise RequestRejected("the body must be the base64 of the request without the lines BEGIN and END")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        raise RequestRejected("the body is not base64 of a PKCS#10 request") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_BODY:
                    raise TooLarge(f"the request is over {_MAX_BODY} bytes")
    except TimeoutError:
        raise DeadlineExceeded(f"the request did not arrive within {_BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise InvalidInput("the request ended before its body did") from None
    return bytes(body)


async def _refuse(_request: Request, error: Exception) -> Response:
    known = error if isinstance(error, InterlockError) else InterlockError("unexpected failure")
    headers = _CHALLENGE if isinstance(known, JoinRefused) else {}
    return _problem(problem.problem_of(known), headers)


async def _not_served(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    phrase = HTTPStatus(status).phrase.lower()
    return _problem(problem.Problem(type="about:blank", title=phrase, status=status))


async def _unexpected(_request: Request, error: Exception) -> Response:
    _log.error("enrolment failed unexpectedly", exc_info=error)
    return _problem(problem.UNEXPECTED)


def _problem(document: problem.Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(problem.encode(document), document.status, headers, problem.MEDIA_TYPE)
