"""The enrolment listener: EST (RFC 7030) for whoever has a join token and no certificate yet."""

import base64
import binascii

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from fastapi import FastAPI, Request, Response
from interlock_common import problem
from interlock_common.errors import InterlockError, TooLarge

from interlock_certs.authority import Authority
from interlock_certs.errors import JoinRefused, RequestRejected
from interlock_certs.issuing import Issuing

_MAX_BODY = 64 * 1024
_CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"


def create_app(authority: Authority, issuing: Issuing) -> FastAPI:
    """The listener's application; it answers errors as problem documents (RFC 9457)."""
    app = FastAPI(title="Interlock enrolment", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(InterlockError, _refuse)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.get("/.well-known/est/cacerts")
    async def cacerts() -> Response:
        return _certificates(authority.certificates)

    @app.post("/.well-known/est/simpleenroll")
    async def simpleenroll(request: Request) -> Response:
        identity, token = _credentials(request)
        leaf = await issuing.enrol(identity, token, await _csr(request))
        return _certificates([leaf.certificate, authority.certificates[0]])

    return app


def _certificates(certificates: list[x509.Certificate]) -> Response:
    """A certs-only PKCS#7 (RFC 7030, section 4.1.3), base64 in lines."""
    der = pkcs7.serialize_certificates(certificates, Encoding.DER)
    headers = {"Content-Transfer-Encoding": "base64"}
    return Response(base64.encodebytes(der), media_type=_CERTS_ONLY, headers=headers)


def _credentials(request: Request) -> tuple[str, str]:
    """Identity and join token, as user name and password of HTTP Basic (RFC 7030, section 3.2.3)."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        identity, separator, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        identity = separator = token = ""
    if scheme.lower() != "basic" or not separator:
        raise JoinRefused("enrolling needs HTTP Basic: the identity and its join token")
    return identity, token


async def _csr(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise TooLarge(f"the request is over {_MAX_BODY} bytes")
    try:
        return base64.b64decode(bytes(body), validate=False)
    except binascii.Error:
        raise RequestRejected("the body is not base64 of a PKCS#10 request") from None


async def _refuse(_request: Request, error: Exception) -> Response:
    known = error if isinstance(error, InterlockError) else InterlockError("unexpected failure")
    document = problem.problem_of(known)
    headers = {"WWW-Authenticate": 'Basic realm="interlock enrolment"'} if isinstance(known, JoinRefused) else {}
    return Response(problem.encode(document), status_code=known.status, media_type=problem.MEDIA_TYPE, headers=headers)
