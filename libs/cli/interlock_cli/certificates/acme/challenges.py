"""How a name is proven to be ours: a file over HTTP (RFC 8555, section 8.3), or a certificate (RFC 8737)."""

import hashlib
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol

from acme import challenges, standalone
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.jwk import JWK

from interlock_cli.certificates.errors import AcmeFailed, FileUnusable
from interlock_cli.certificates.keys import private_pem
from interlock_common.clock import SYSTEM_CLOCK

HTTP_PORT, TLS_PORT = 80, 443
_PROTOCOL = "acme-tls/1"
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTET_STRING_OF_32 = b"\x04\x20"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_HANDSHAKE_SECONDS = 10.0
_HOUR = timedelta(hours=1)
_WORLD_READABLE, _TRAVERSABLE = 0o644, 0o755


@challenges.ChallengeResponse.register
class TlsAlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    """The answer ``tls-alpn-01``, which the library does not have any more."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TlsAlpn(challenges.KeyAuthorizationChallenge):
    """The challenge ``tls-alpn-01``."""

    response_cls = TlsAlpnResponse
    typ = TlsAlpnResponse.typ

    def validation(self, account_key: JWK, **kwargs: Any) -> bytes:
        del kwargs
        return hashlib.sha256(self.key_authorization(account_key).encode()).digest()


@dataclass(frozen=True)
class Proof:
    """A challenge for a name, and the account that answers it.

    The library's messages have fields that only exist when they run, hence ``Any``.
    """

    name: str
    challenge: Any
    account_key: JWK

    @property
    def token(self) -> str:
        """Raises AcmeFailed for one that would be another path."""
        token = str(self.challenge.chall.encode("token"))
        if not _TOKEN.fullmatch(token):
            raise AcmeFailed("the ACME server sent a token that is none")
        return token

    @property
    def response(self) -> challenges.KeyAuthorizationChallengeResponse:
        return self.challenge.chall.response(self.account_key)

    @property
    def validation(self) -> Any:
        return self.challenge.chall.validation(self.account_key)


class Responder(Protocol):
    """Answers challenges of one kind while the server looks."""

    kind: ClassVar[str]

    def answering(self, proofs: Sequence[Proof]) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class HttpResponder:
    """``http-01`` from a listener of its own."""

    kind: ClassVar[str] = challenges.HTTP01.typ
    port: int = HTTP_PORT

    @contextmanager
    def answering(self, proofs: Sequence[Proof]) -> Generator[None]:
        resources = {
            standalone.HTTP01RequestHandler.HTTP01Resource(proof.challenge.chall, proof.response, proof.validation)
            for proof in proofs
        }
        try:
            servers = standalone.HTTP01DualNetworkedServers(("", self.port), resources)
        except OSError as error:
            raise AcmeFailed(_cannot_listen(self.port, error)) from None
        servers.serve_forever()
        try:
            yield
        finally:
            servers.shutdown_and_server_close()


@dataclass(frozen=True)
class WebrootResponder:
    """``http-01`` from files below the folder of a web server that runs already."""

    root: Path
    kind: ClassVar[str] = challenges.HTTP01.typ

    @contextmanager
    def answering(self, proofs: Sequence[Proof]) -> Generator[None]:
        folder = self.root / ".well-known" / "acme-challenge"
        files = {folder / proof.token: str(proof.validation) for proof in proofs}
        try:
            if not self.root.is_dir():
                raise FileUnusable(f"there is no folder {self.root}")
            folder.mkdir(mode=_TRAVERSABLE, parents=True, exist_ok=True)
            for path, content in files.items():
                path.write_text(content, encoding="ascii")
                path.chmod(_WORLD_READABLE)  # the web server is another user
            yield
        except OSError as error:
            raise FileUnusable(f"{error.filename} cannot be written: {error.strerror}") from None
        finally:
            for path in files:
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class TlsResponder:
    """``tls-alpn-01`` from a listener of its own, which speaks nothing else."""

    kind: ClassVar[str] = TlsAlpn.typ
    port: int = TLS_PORT

    @contextmanager
    def answering(self, proofs: Sequence[Proof]) -> Generator[None]:
        contexts = {proof.name.lower(): _context(proof) for proof in proofs}
        try:
            listener = socket.create_server(("", self.port), family=socket.AF_INET6, dualstack_ipv6=True)
        except (OSError, ValueError):  # no IPv6 here
            try:
                listener = socket.create_server(("", self.port))
            except OSError as error:
                raise AcmeFailed(_cannot_listen(self.port, error)) from None
        thread = threading.Thread(target=_accept, args=(listener, _by_name(contexts)), daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            listener.close()
            thread.join(_HANDSHAKE_SECONDS)


def _accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_shake, args=(connection, context), daemon=True).start()


def _shake(connection: socket.socket, context: ssl.SSLContext) -> None:
    """The handshake alone is the answer; a peer that sends nothing is not waited for."""
    with connection, suppress(OSError):
        connection.settimeout(_HANDSHAKE_SECONDS)
        context.wrap_socket(connection, server_side=True).close()


def _by_name(contexts: dict[str, ssl.SSLContext]) -> ssl.SSLContext:
    """A context that shows the certificate of the name that is asked for, and refuses others."""
    first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first.minimum_version = ssl.TLSVersion.TLSv1_2
    first.set_alpn_protocols([_PROTOCOL])

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        context = contexts.get((name or "").lower())
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = context
        return None

    first.sni_callback = choose
    return first


def _context(proof: Proof) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([_PROTOCOL])
    with tempfile.NamedTemporaryFile(prefix="interlock-acme-") as file:  # a context reads its chain from a file only
        file.write(private_pem(key) + _challenge_certificate(proof, key).public_bytes(Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _challenge_certificate(proof: Proof, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Self-signed, with the name and the digest of the key authorization (RFC 8737, section 3)."""
    now = SYSTEM_CLOCK.now()
    digest = x509.UnrecognizedExtension(_ACME_IDENTIFIER, _OCTET_STRING_OF_32 + proof.validation)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(proof.name)]), critical=True)
        .add_extension(digest, critical=True)
        .sign(key, hashes.SHA256())
    )


def _cannot_listen(port: int, error: OSError) -> str:
    return f"port {port} cannot be listened on: {error.strerror}; the ACME server looks there, unless a proxy hands on"
