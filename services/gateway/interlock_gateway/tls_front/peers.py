"""Who is at the other end of a connection: read once when it opens, handed to every request and WebSocket on it.

The scope gets the ``tls`` extension of ASGI and, as ``interlock.peer``, the client's certificate, whose chain the
handshake has verified.
"""

import ssl
from typing import Any

import structlog
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from interlock_common.tls_handshake import ServerContext
from interlock_gateway.certificates.errors import CertificateUnreadable
from interlock_gateway.certificates.peer import PEER, PeerCertificate
from interlock_gateway.guard.heads import BoundedHttp

_log = structlog.get_logger()
_PLAIN: dict[str, Any] = {PEER: None}
_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class EdgeHttp(BoundedHttp):
    """HTTP/1.1 as the edge serves it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = _about_peer(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope |= self._peer


class EdgeWebSocket(WebSocketsSansIOProtocol):
    """WebSockets as the edge serves them."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = _about_peer(transport)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)  # none where the handshake of the WebSocket was refused
        if scope is not None:  # the application begins in the next round of the loop
            extensions = {**scope["extensions"], **self._peer.get("extensions", {})}
            scope.update(self._peer, extensions=extensions)


def _about_peer(transport: Any) -> dict[str, Any]:
    """What the scopes of a connection get; an unreadable certificate ends it, nobody is taken for nobody."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return _PLAIN
    try:
        peer = _certificate(connection)
    except CertificateUnreadable as error:
        _log.warning("a connection was ended", reason=error.detail, peer=str(transport.get_extra_info("peername")))
        transport.abort()
        return _PLAIN
    return {PEER: peer, "extensions": {"tls": _extension(connection, peer)}}


def _certificate(connection: ssl.SSLObject) -> PeerCertificate | None:
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return None
    return PeerCertificate.of(leaf, tuple(connection.get_verified_chain()[1:]))


def _extension(connection: ssl.SSLObject, peer: PeerCertificate | None) -> dict[str, Any]:
    """The TLS extension of ASGI, version 0.2."""
    name, version, _ = connection.cipher() or ("", "", 0)
    suites = connection.context.suites if isinstance(connection.context, ServerContext) else {}
    chain = [] if peer is None else [ssl.DER_cert_to_PEM_cert(der) for der in (peer.der, *peer.chain)]
    return {
        "server_cert": None,
        "client_cert_chain": chain,
        "client_cert_name": peer.subject if peer is not None else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or version),
        "cipher_suite": suites.get(name),
    }
