"""Serving the enrolment listener over TLS, with a certificate that changes while it serves.

Clients may show a certificate of this deployment; who does is in the scope of the request.
"""

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from interlock_common.errors import ConfigurationError
from interlock_common.identity import Identity
from interlock_common.tls_accept import Acceptor

SHOWN = "interlock.shown"
"""Where the scope of a request keeps the certificate (DER) that the client has shown, or None."""


class _Protocol(HttpToolsProtocol):
    """Tells each request which certificate the connection was made with."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        connection: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        shown = connection.getpeercert(binary_form=True) if connection is not None else None
        self.scope[SHOWN] = shown  # pyright: ignore[reportGeneralTypeIssues] - a key of ours


class Listener(uvicorn.Server):
    """uvicorn with a context of ours, and without its signal handlers."""

    def __init__(self, app: Any, identity: Identity) -> None:
        self._identity = identity
        self._current = _context(identity)
        config = uvicorn.Config(
            app, loop="none", http=_Protocol, ws="none", lifespan="off", access_log=False, log_config=None,
            server_header=False, timeout_keep_alive=5, limit_concurrency=64,
        )  # fmt: skip
        super().__init__(config)

    async def renewed(self) -> None:
        """Present the identity's new certificate, and believe in its bundle, from the next handshake on."""
        self._current = _context(self._identity)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listener in sockets or []:
            acceptor = Acceptor(listener, lambda: self._current, self._protocol)
            acceptor.start(self.config.backlog)
            self.servers.append(acceptor)  # pyright: ignore[reportArgumentType] - what uvicorn calls of a server, it has

    def _protocol(self) -> _Protocol:
        return _Protocol(self.config, self.server_state, self.lifespan.state)

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
        raise ConfigurationError(
            f"ENROLMENT_HOST {host} with ENROLMENT_PORT {port} cannot be used: {error.strerror}"
        ) from None
    listener.setblocking(False)
    return listener


def _context(identity: Identity) -> ssl.SSLContext:
    """Asks for a certificate, without demanding one."""
    return identity.server_context(client_certificates=ssl.CERT_OPTIONAL)
