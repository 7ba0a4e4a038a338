"""CRLs, OCSP and the certificates of the CAs over HTTP, without TLS as is usual: each of them is signed in itself."""

import asyncio
import base64
import binascii
import socket
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import format_datetime
from typing import Annotated, Any

import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, FastAPI, Path, Request, Response
from starlette.requests import ClientDisconnect

from interlock_certs.crl import Crls
from interlock_certs.generations import Generations
from interlock_certs.ocsp import MAX_REQUEST, Answer, OcspResponder
from interlock_common import problem
from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError, InterlockError, NotFound

_BODY_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 5
_MOST_AT_A_TIME = 64

type IssuerId = Annotated[str, Path(pattern="^[0-9a-f]{2,128}$")]


def router(generations: Generations, crls: Crls, responder: OcspResponder, clock: Clock) -> APIRouter:
    """``/crl/<issuer>.crl``, ``/ca/<issuer>.crt`` and ``/ocsp``, for whichever listener."""
    routes = APIRouter()

    @routes.get("/crl/{issuer}.crl")
    async def crl(issuer: IssuerId) -> Response:
        return Response(await crls.of(issuer), media_type="application/pkix-crl")

    @routes.get("/ca/{issuer}.crt")
    async def ca(issuer: IssuerId) -> Response:
        found = next((one for one in generations.issuers if one.key_id == issuer), None)
        if found is None:
            raise NotFound("there is no such issuing CA")
        return Response(found.certificate.public_bytes(Encoding.DER), media_type="application/pkix-cert")

    @routes.post("/ocsp")
    async def posted(request: Request) -> Response:
        return _response(await responder.answer(await _bounded(request)), clock, cacheable=False)

    @routes.get("/ocsp/{encoded:path}")
    async def asked(encoded: str) -> Response:  # base64, with its slashes escaped or not (RFC 6960, appendix A.1)
        return _response(await responder.answer(_decoded(encoded)), clock, cacheable=True)

    return routes


def create_app(routes: APIRouter) -> FastAPI:
    """The application of the plain listener."""
    app = FastAPI(title="Interlock certificate status", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(InterlockError, _refuse)
    app.include_router(routes)
    return app


class StatusListener(uvicorn.Server):
    """uvicorn over plain HTTP, without its signal handlers."""

    def __init__(self, app: Any) -> None:
        super().__init__(uvicorn.Config(
            app, loop="none", ws="none", lifespan="off", access_log=False, log_config=None, server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS, limit_concurrency=_MOST_AT_A_TIME,
        ))  # fmt: skip

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """The listening socket; raises ConfigurationError naming the settings."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror
        raise ConfigurationError(f"STATUS_HOST {host} with STATUS_PORT {port} cannot be used: {reason}") from None
    listener.setblocking(False)
    return listener


async def _bounded(request: Request) -> bytes:
    """The body, or as much of it as shows that it is too long; too late or cut off is as good as none."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_REQUEST:
                    break
    except (TimeoutError, ClientDisconnect):
        return b""
    return bytes(body[: MAX_REQUEST + 1])


def _decoded(encoded: str) -> bytes:
    if len(encoded) > 2 * MAX_REQUEST:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return b""


def _response(answer: Answer, clock: Clock, *, cacheable: bool) -> Response:
    """RFC 5019, section 6.2: what was asked by GET may be kept until it is no longer fresh."""
    headers = {"Cache-Control": "no-store"}
    if cacheable and answer.fresh_until is not None:
        now = clock.now()
        seconds = max(0, int((answer.fresh_until - now).total_seconds()))
        headers = {
            "Cache-Control": f"max-age={seconds}, public, no-transform, must-revalidate",
            "Expires": format_datetime(answer.fresh_until, usegmt=True),
        }
    return Response(answer.der, media_type="application/ocsp-response", headers=headers)


async def _refuse(_request: Request, error: Exception) -> Response:
    known = error if isinstance(error, InterlockError) else InterlockError("unexpected failure")
    document = problem.problem_of(known)
    return Response(problem.encode(document), document.status, media_type=problem.MEDIA_TYPE)
