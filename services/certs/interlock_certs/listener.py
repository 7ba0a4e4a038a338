"""Serving the enrolment listener over TLS, with a certificate that changes while it serves."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from interlock_common.errors import ConfigurationError
from interlock_common.identity import Identity
from interlock_common.tls import follows


class Listener(uvicorn.Server):
    """uvicorn with a context of ours, and without its signal handlers."""

    def __init__(self, app: Any, identity: Identity) -> None:
        self._identity = identity
        self._current = identity.server_context(client_certificates=False)
        context = follows(lambda: self._current)
        config = uvicorn.Config(
            app, loop="none", ws="none", lifespan="off", access_log=False, log_config=None, server_header=False,
            timeout_keep_alive=5, limit_concurrency=64, ssl_context_factory=lambda _config, _default: context,
        )  # fmt: skip
        super().__init__(config)

    async def renewed(self) -> None:
        """Present the identity's new certificate from the next handshake on."""
        self._current = self._identity.server_context(client_certificates=False)

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
