"""The certificate of the front end, the same key behind a passphrase, and the keys of tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from interlock_cli.certificates.authority import self_signed
from interlock_cli.certificates.errors import FileUnusable, IncompletePair, KeyMismatch
from interlock_cli.certificates.files import is_there
from interlock_cli.certificates.form import Leaf, Purpose
from interlock_cli.certificates.keys import KeyForm, KeyType, PrivateKey, private_pem, public_part, public_pem
from interlock_cli.certificates.names import alternative_name
from interlock_cli.certificates.reading import read_certificate, read_key, read_public_key, require_match
from interlock_cli.certificates.workshop import Pair, Workshop

FRONT_NAMES = ("localhost", "gateway", "nginx", "127.0.0.1", "::1")
"""What a front end is called on a machine and in a compose network."""


def front_leaf(extra: Sequence[str]) -> Leaf:
    return Leaf("localhost", alternative_names(FRONT_NAMES, extra), Purpose.SERVER)


def alternative_names(*groups: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """Each name once, in the order given. Raises NameRefused."""
    return tuple(dict.fromkeys(alternative_name(text) for group in groups for text in group))


def make_front(shop: Workshop, folder: Path, days: int, names: Sequence[str] = ()) -> None:
    """``cert.pem`` and ``key.pem``: self-signed, for servers. Raises CertificateError."""
    leaf, pair, encrypted = front_leaf(names), _pair(folder), folder / "key-encrypted.pem"
    if is_there(pair.certificate) and not is_there(pair.key) and is_there(encrypted) and not shop.writing.force:
        shop.journal.kept(pair.certificate, encrypted)
        return
    shop.pair(pair, lambda key: self_signed(leaf, key, days, shop.clock.now()))


def add_passphrase(
    shop: Workshop, folder: Path, days: int, names: Sequence[str], passphrase: Callable[[], bytes]
) -> None:
    """``key-encrypted.pem`` (AES-256): of ``key.pem`` where that is there, else with a new certificate.

    Raises CertificateError.
    """
    leaf, pair, encrypted = front_leaf(names), _pair(folder), folder / "key-encrypted.pem"
    if is_there(encrypted) and not shop.writing.force:
        shop.journal.kept(encrypted)
        shop.share(encrypted)
    elif is_there(pair.key):
        key = _front_key(pair)
        shop.file(encrypted, lambda: private_pem(key, passphrase()), private=True)
        shop.journal.warn(f"{pair.key} is still there without a passphrase: remove it once nothing uses it")
    else:
        shop.pair(Pair(encrypted, pair.certificate), lambda key: self_signed(leaf, key, days, shop.clock.now()),
                  passphrase())  # fmt: skip


def remove_passphrase(shop: Workshop, folder: Path, passphrase: Callable[[], bytes]) -> None:
    """``key.pem`` out of ``key-encrypted.pem``, which stays. Raises CertificateError."""
    pair, encrypted = _pair(folder), folder / "key-encrypted.pem"
    if not is_there(encrypted):
        raise FileUnusable(f"there is no {encrypted} to take the passphrase from")
    if is_there(pair.key) and not shop.writing.force:
        shop.journal.kept(pair.key)
        shop.share(pair.key)
        return
    key = read_key(encrypted, passphrase())
    if is_there(pair.certificate):
        require_match(key, encrypted, read_certificate(pair.certificate), pair.certificate)
    shop.file(pair.key, lambda: private_pem(key), private=True)


def make_jwt(shop: Workshop, folder: Path, bits: int) -> None:
    """``jwt/private.pem`` and ``jwt/public.pem``: RSA. Raises CertificateError."""
    _key_pair(shop, folder / "jwt" / "private.pem", folder / "jwt" / "public.pem", KeyForm(KeyType.RSA, bits))


def make_jwt_ecdsa(shop: Workshop, folder: Path) -> None:
    """``jwt/ec_private.pem`` and ``jwt/ec_public.pem``: P-256. Raises CertificateError."""
    _key_pair(shop, folder / "jwt" / "ec_private.pem", folder / "jwt" / "ec_public.pem", KeyForm(KeyType.P256))


def _key_pair(shop: Workshop, private: Path, public: Path, form: KeyForm) -> None:
    if is_there(public) and not is_there(private) and not shop.writing.force:
        raise IncompletePair(f"{public} is there without {private}: put its key back, move it away, "
                             "or replace both with --force")  # fmt: skip
    key: PrivateKey = read_key(private) if is_there(private) and not shop.writing.force else form.new()
    if not shop.file(private, lambda: private_pem(key), private=True):
        shop.share(private)
    if not shop.file(public, lambda: public_pem(key), private=False) and read_public_key(public) != public_part(
        key.public_key()
    ):
        raise KeyMismatch(f"{public} is not the public half of {private}")


def _front_key(pair: Pair) -> PrivateKey:
    key = read_key(pair.key)
    if is_there(pair.certificate):
        require_match(key, pair.key, read_certificate(pair.certificate), pair.certificate)
    return key


def _pair(folder: Path) -> Pair:
    return Pair(folder / "key.pem", folder / "cert.pem")
