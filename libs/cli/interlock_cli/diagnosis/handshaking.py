"""TLS to a port: once without judging, to see what it shows; once as a client does it, to see whether that is taken."""

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_cli.certificates.errors import FileUnusable
from interlock_cli.diagnosis.causes import Cause, Finding
from interlock_cli.diagnosis.reaching import Address

_ALERT_SECONDS = 1.0
"""A TLS 1.3 server says only after the handshake that it misses a client certificate."""
_NAME_CODES = frozenset({62, 63, 64})
_CODES = {9: Cause.NOT_YET, 10: Cause.EXPIRED, 18: Cause.UNTRUSTED, 19: Cause.UNTRUSTED, 20: Cause.UNTRUSTED}
"""X509_V_ERR_… of OpenSSL."""
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"})
_OLD = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"})
_DEMANDED = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED"})
_ABOUT_CLIENT = frozenset({
    "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "TLSV1_ALERT_ACCESS_DENIED", "TLSV1_ALERT_DECRYPT_ERROR",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """How the connection came about, and the certificates that the server showed, leaf first."""

    version: str
    cipher: str
    alpn: str | None
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """How this side behaves: the name it asks for, whom it trusts, what it shows."""

    name: str
    seconds: float
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self, *, judging: bool, trusting: Sequence[x509.Certificate] = ()) -> ssl.SSLContext:
        """Raises FileUnusable for the files that were given."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # most clients are not; what breaks a rule is another question
        context.set_alpn_protocols(["http/1.1"])
        if not judging:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except (OSError, ssl.SSLError) as error:
            raise FileUnusable(
                f"{self.ca} cannot be used as --ca: {error.strerror or 'no certificates in it'}"
            ) from None
        for certificate in trusting:
            context.load_verify_locations(cadata=certificate.public_bytes(Encoding.DER))
        if self.cert is not None:
            self._show(context, self.cert)
        return context

    def _show(self, context: ssl.SSLContext, cert: Path) -> None:
        def no_passphrase() -> str:
            raise FileUnusable(f"{self.key or cert} is encrypted: give a key without a passphrase")

        try:
            context.load_cert_chain(cert, self.key, no_passphrase)
        except (OSError, ssl.SSLError) as error:
            raise FileUnusable(
                f"{cert} and {self.key or cert} are no certificate with its key: {error.strerror}"
            ) from None


def look(address: Address, client: Client) -> Shown | Finding:
    """What the server shows to a client that takes anything."""
    context = client.context(judging=False)
    try:
        with _connected(address, client) as plain, context.wrap_socket(plain, server_hostname=client.name) as tls:
            return _shown(tls)
    except ssl.SSLError as error:
        return _failure(error, client)
    except OSError as error:
        return Finding(Cause.HANDSHAKE, f"the server ended the connection in the handshake ({_words(error)})")


def judge(address: Address, client: Client, trusting: Sequence[x509.Certificate] = ()) -> Finding | None:
    """Why a client that checks everything, and shows what it has, does not get through; None when it does.

    It trusts ``trusting`` besides: to see what else is wrong.
    """
    context = client.context(judging=True, trusting=trusting)
    try:
        with _connected(address, client) as plain, context.wrap_socket(plain, server_hostname=client.name) as tls:
            return _after(tls, client)
    except ssl.SSLCertVerificationError as error:
        return _verdict(error, client)
    except ssl.SSLError as error:
        return _failure(error, client)
    except OSError as error:
        return Finding(Cause.HANDSHAKE, f"the server ended the connection in the handshake ({_words(error)})")


def _after(tls: ssl.SSLSocket, client: Client) -> Finding | None:
    """An alert that comes after the handshake; silence is consent."""
    tls.settimeout(min(_ALERT_SECONDS, client.seconds))
    try:
        ended = tls.recv(1) == b""
    except TimeoutError:
        return None
    except ssl.SSLError as error:
        return _failure(error, client)
    except ConnectionResetError:
        ended = True
    if ended and client.cert is not None:
        return Finding(Cause.CLIENT_REFUSED, "the server ended the connection after it saw the client certificate")
    return Finding(Cause.HANDSHAKE, "the server ended the connection after the handshake") if ended else None


def _connected(address: Address, client: Client) -> socket.socket:
    return socket.create_connection(address, client.seconds)


def _shown(tls: ssl.SSLSocket) -> Shown:
    chain: list[bytes] = tls.get_unverified_chain()
    cipher = tls.cipher()
    return Shown(
        tls.version() or "",
        cipher[0] if cipher else "",
        tls.selected_alpn_protocol(),
        tuple(x509.load_der_x509_certificate(der) for der in chain),
    )


def _failure(error: ssl.SSLError, client: Client) -> Finding:
    reason = error.reason or ""
    if reason in _OLD:
        return Finding(Cause.OLD_VERSION, "the server speaks no TLS 1.2 or 1.3")
    if reason in _NOT_TLS:
        return Finding(Cause.NOT_TLS, "what the server sent is not TLS")
    if reason in _DEMANDED or (reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and client.cert is None):
        demanded = "the server demands a client certificate"
        said = demanded if reason in _DEMANDED else f"the server refused the handshake: perhaps {demanded[11:]}"
        cause = Cause.CLIENT_CERTIFICATE if reason in _DEMANDED else Cause.HANDSHAKE
        return Finding(cause, said)
    if reason in _ABOUT_CLIENT:
        return Finding(Cause.CLIENT_REFUSED, f"the server refused the client certificate ({_plain(reason)})")
    return Finding(Cause.HANDSHAKE, f"the handshake failed: {_plain(reason) or error.strerror}")


def _verdict(error: ssl.SSLCertVerificationError, client: Client) -> Finding:
    if error.verify_code in _NAME_CODES:
        return Finding(Cause.NAME, f"the certificate does not name {client.name}")
    return Finding(_CODES.get(error.verify_code, Cause.UNUSABLE), error.verify_message)


def _plain(reason: str) -> str:
    return reason.lower().replace("_", " ")


def _words(error: OSError) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
