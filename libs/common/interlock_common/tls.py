"""TLS: contexts that are made anew each time, and files of an identity that change as a whole or not at all.

A context is never reloaded in place: a failed reload drops the certificate that worked.
"""

import os
import ssl
import tempfile
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from interlock_common.errors import ConfigurationError
from interlock_common.tls_handshake import ServerContext

_PRIVATE = 0o600
_PUBLIC = 0o644
_DER = serialization.Encoding.DER
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


class UnusableIdentity(ConfigurationError):
    """A key, a certificate or a trust bundle that cannot be used; the message names the file and the reason."""

    code = "unusable_identity"


def client_context(bundle: Path, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A context that verifies servers, name included, against ``bundle``, and shows ``cert`` where given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _loaded(context, bundle, cert, key)


def server_context(bundle: Path, cert: Path, key: Path, *, client_certificates: ssl.VerifyMode) -> ssl.SSLContext:
    """A context that shows ``cert`` and, by ``client_certificates``, asks for one that ``bundle`` verifies.

    For ``tls_accept.Acceptor``, which takes a new one at each handshake: a context whose certificates another one
    replaces (``sni_callback``) would go on with sessions that the old ones began.
    """
    context = ServerContext()
    if client_certificates is not ssl.CERT_NONE:
        context.verify_clients(client_certificates)
    return _loaded(context, bundle, cert, key)


def read(path: Path) -> bytes:
    """The content of a file of an identity."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableIdentity(f"{path} cannot be read: {error.strerror}") from None


def certificates(pem: bytes, source: object) -> list[x509.Certificate]:
    """The certificates of ``pem``; ``source`` names in an error where it came from."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise UnusableIdentity(f"{source} holds no PEM certificates") from None


def check(
    key_pem: bytes, chain_pem: bytes, bundle_pem: bytes, moment: datetime, spiffe_id: str, directory: Path
) -> x509.Certificate:
    """The leaf of a chain that counts at ``moment``: named ``spiffe_id``, ``key_pem`` its key, verified by the bundle.

    Errors name the file of ``directory`` that is wrong.
    """
    key, cert, bundle = (directory / name for name in ("key.pem", "cert.pem", "bundle.pem"))
    leaf, *intermediates = certificates(chain_pem, cert)
    if leaf.public_key().public_bytes(_DER, _SPKI) != _public_part(key_pem, key):
        raise UnusableIdentity(f"{key} is not the key of the leaf in {cert}")
    if spiffe_id not in uris(leaf):
        raise UnusableIdentity(f"the leaf in {cert} is not named {spiffe_id}")
    if not leaf.not_valid_before_utc <= moment < leaf.not_valid_after_utc:
        window = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        raise UnusableIdentity(f"the leaf in {cert} counts from {window}, not at this moment")
    try:
        verify(leaf, intermediates, certificates(bundle_pem, bundle), moment)
    except VerificationError as error:
        raise UnusableIdentity(f"the chain in {cert} is not verified by {bundle}: {error}") from None
    return leaf


def verify(
    leaf: x509.Certificate, between: list[x509.Certificate], roots: list[x509.Certificate], moment: datetime
) -> None:
    """Raise VerificationError unless one of ``roots`` verifies a client's chain at ``moment``."""
    PolicyBuilder().store(Store(roots)).time(moment).build_client_verifier().verify(leaf, between)


def authority_key_ids(chain: list[x509.Certificate]) -> set[str]:
    """The key ids, in hex, of those who issued the certificates of a chain, the root's among them."""
    found: set[str] = set()
    for certificate in chain:
        try:
            named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        except x509.ExtensionNotFound:
            continue
        if named is not None:
            found.add(named.hex())
    return found


def uris(leaf: x509.Certificate) -> list[str]:
    """The URI names of a certificate."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def write_atomically(path: Path, content: bytes, *, private: bool) -> None:
    """Put ``content`` at ``path``, on the disk before it is visible; a private file is mode 0600 from its start."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _PRIVATE if private else _PUBLIC)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _public_part(key_pem: bytes, source: object) -> bytes:
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableIdentity(f"{source} holds no unencrypted PEM private key") from None
    return key.public_key().public_bytes(_DER, _SPKI)


def _loaded(context: ssl.SSLContext, bundle: Path, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=read(bundle).decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise UnusableIdentity(f"{bundle} holds no PEM certificates") from None
    if cert is not None and key is not None:
        for file in (cert, key):
            read(file)  # a missing file is named here; the ssl module does not say which one it missed
        try:
            context.load_cert_chain(cert, key)
        except (ssl.SSLError, OSError) as error:
            raise UnusableIdentity(f"{cert} and {key} do not make a certificate with its key: {error}") from None
    return context
