"""Server handshakes that tell the other side, and us, why they failed; and that bound the chain of a client.

asyncio and uvloop close a connection whose handshake failed before the alert that OpenSSL has written for it is
sent: the client then sees an end without a reason. Here the alert goes out first. OpenSSL's limit on the depth of a
chain is not reachable from Python, so the chain that it verified is measured when the handshake is complete.
"""

import hashlib
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Self

VERIFIED_BEFORE = 4096
"""Clients of one context that may resume a session (TLS 1.2): the chain is not shown again then, only the leaf."""
# TLS 1.2: forward secrecy and authenticated encryption, nothing else; TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_SPOKEN = ("http/1.1",)
_PLAIN_HTTP = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
_SAID = b"This port speaks HTTPS, and the request came as plain HTTP: use https:// in the address.\n"
_USE_HTTPS = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_SAID), _SAID)
)

type Failed = Callable[[ssl.SSLError], None]

on_failure: ContextVar[Failed | None] = ContextVar("on_failure", default=None)
"""Told why the handshake failed that begins in this context."""


class ChainRefused(ssl.SSLCertVerificationError):
    """A client certificate that OpenSSL verified and we do not take.

    OpenSSL does not know of it, so there is no alert: the client sees that the connection ends.
    """

    reason = "CHAIN_REFUSED"


class ServerHandshake(ssl.SSLObject):
    """The TLS side of one connection, as asyncio and uvloop drive it through memory."""

    _written: ssl.MemoryBIO
    _on_failure: Failed | None
    _failed: ssl.SSLError | None = None

    def begins(self, written: ssl.MemoryBIO) -> Self:
        self._written, self._on_failure = written, on_failure.get()
        return self

    def do_handshake(self) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            super().do_handshake()
            self._admit()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._failed = error
            if self._on_failure is not None:
                self._on_failure(error)
            if isinstance(error, ChainRefused) or error.reason in _PLAIN_HTTP:
                self._written.read()
            if error.reason in _PLAIN_HTTP:
                self._written.write(_USE_HTTPS)
            if self._written.pending:
                # What wants to read more has its output sent first; whoever waits for the handshake ends it.
                raise ssl.SSLWantReadError from error
            raise

    def _admit(self) -> None:
        context = self.context
        if isinstance(context, ServerContext) and (leaf := self.getpeercert(binary_form=True)):
            context.admit(leaf, None if self.session_reused else self.get_verified_chain())


class ServerContext(ssl.SSLContext):
    """TLS 1.2 and 1.3 for a server, with the ciphers that have forward secrecy.

    ``depth`` is how many CA certificates may stand above a client's leaf, the root among them; ``suites`` are the
    numbers of the ciphers by name. A context belongs to one set of certificates: sessions made under one are not known
    to the next.
    """

    sslobject_class = ServerHandshake
    depth: int | None
    suites: dict[str, int]
    _admitted: dict[bytes, None]

    def __new__(cls, depth: int | None = None) -> Self:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self.depth, self._admitted = depth, {}
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        self.options |= ssl.OP_NO_RENEGOTIATION
        self.set_ciphers(_CIPHERS)
        self.set_alpn_protocols(_SPOKEN)
        self.suites = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in self.get_ciphers()}
        return self

    def demand_client_certificates(self, mode: ssl.VerifyMode, authorities: str) -> None:
        """Ask clients for a certificate that ``authorities`` (PEM) verify; raises ssl.SSLError."""
        self.load_verify_locations(cadata=authorities)
        self.verify_clients(mode)

    def verify_clients(self, mode: ssl.VerifyMode) -> None:
        """Ask clients for a certificate.

        Without tickets: a ticket would be taken later for the certificate that it was given for, unread.
        """
        self.verify_mode = mode
        self.options |= ssl.OP_NO_TICKET
        self.num_tickets = 0

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **more: Any) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, *args, **more)
        return made.begins(outgoing) if isinstance(made, ServerHandshake) else made

    def admit(self, leaf: bytes, chain: list[bytes] | None) -> None:
        """Take the certificate that a client has shown; ``chain`` is None for a session that goes on.

        Raises ChainRefused.
        """
        known = hashlib.sha256(leaf).digest()
        if chain is None:
            if known not in self._admitted:
                raise ChainRefused(1, "the session is older than what is remembered of its certificate")
            return
        above = len(chain) - 1
        if above < 0:
            raise ChainRefused(1, "the client's chain is not known")
        if self.depth is not None and above > self.depth:
            raise ChainRefused(1, f"the client's chain has {above} CA certificates, {self.depth} are allowed")
        if len(self._admitted) >= VERIFIED_BEFORE:
            del self._admitted[next(iter(self._admitted))]
        self._admitted[known] = None


LEFT = "the client left before the handshake was complete"
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate, and one is demanded",
    "HTTP_REQUEST": "plain HTTP was sent to a port that speaks TLS",
    "HTTPS_PROXY_REQUEST": "a request to a proxy was sent in plain HTTP to a port that speaks TLS",
    "UNSUPPORTED_PROTOCOL": "the client speaks no version of TLS that is allowed, 1.2 or newer",
    "VERSION_TOO_LOW": "the client speaks no version of TLS that is allowed, 1.2 or newer",
    "WRONG_VERSION_NUMBER": "what was sent is not TLS",
    "NO_SHARED_CIPHER": "the client offers no cipher that is allowed",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the issuer of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client refused our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client refused our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that our certificate has expired",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the client cannot use a certificate of our kind",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the client refuses our version of TLS",
    "TLSV1_UNRECOGNIZED_NAME": "the client does not know the name that we have",
}


def in_words(error: BaseException) -> str:
    """Why a handshake failed, for a log: which side refused, and what."""
    if isinstance(error, ChainRefused):
        return str(error.strerror)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate is not taken: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", f"TLS failed: {error.reason or error.strerror or 'unknown'}")
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return "the handshake took too long"
    return LEFT
