"""CA keys in a PKCS#11 token: they are made there, sign there, and cannot be read. Needs the extra ``pkcs11``."""

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never
from urllib.parse import quote, unquote

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key

from interlock_certs.ca_keys import Algorithm, CaKey
from interlock_certs.errors import AuthorityUnusable, TokenAway, TokenUnusable

_SCHEME = "pkcs11:"
_CURVES: dict[Algorithm, str] = {"p256": "secp256r1", "p384": "secp384r1"}
_RSA_BITS: dict[Algorithm, int] = {"rsa3072": 3072, "rsa4096": 4096}
_RSA_MECHANISMS = {
    "sha256": Mechanism.SHA256_RSA_PKCS,
    "sha384": Mechanism.SHA384_RSA_PKCS,
    "sha512": Mechanism.SHA512_RSA_PKCS,
}
_KEPT = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True}
_WHY: dict[type[pkcs11.PKCS11Error], str] = {
    pkcs11.NoSuchToken: "PKCS11_TOKEN: there is no token of that label; the module lists its tokens",
    pkcs11.MultipleTokensReturned: "PKCS11_TOKEN: there is more than one token of that label",
    pkcs11.PinIncorrect: "PKCS11_PIN is not the PIN of the token",
    pkcs11.PinLenRange: "PKCS11_PIN is not the PIN of the token",
    pkcs11.PinLocked: "the token is locked after too many wrong PINs: unlock it as security officer",
    pkcs11.UserPinNotInitialized: "the token has no user PIN yet: initialize it",
}


class HsmToken:
    """One token of a module; a session that broke is opened once more before anything fails."""

    def __init__(self, module: Path, label: str, pin: str) -> None:
        self._label = label
        self._pin = pin
        self._one_at_a_time = threading.RLock()
        if not module.is_file():
            raise TokenUnusable(f"PKCS11_MODULE {module} is no file: it must be the library of the token's maker")
        try:
            self._library = pkcs11.lib(str(module))
        except pkcs11.PKCS11Error as error:
            raise TokenUnusable(f"PKCS11_MODULE {module} is no PKCS#11 library: {error}") from None
        self._session: Any = self._open()
        self._found: dict[_Address, Any] = {}

    def create(self, algorithm: Algorithm) -> str:
        """Make a key pair that stays in the token; answers its URI (RFC 7512)."""
        name, number = f"interlock-ca-{secrets.token_hex(4)}", secrets.token_bytes(16)
        self._using(lambda session: _generate(session, algorithm, name, number))
        return f"{_SCHEME}token={quote(self._label)};object={quote(name)};id={quote(number)};type=private"

    def key(self, uri: str) -> CaKey:
        """The key that ``uri`` names; raises AuthorityUnusable when the token has no such one."""
        wanted = _parsed(uri)
        if wanted.get("token", self._label) != self._label:
            raise AuthorityUnusable(f"the key is in the token {wanted['token']!r}, and PKCS11_TOKEN is {self._label!r}")
        found = _Address(wanted.get("object"), wanted.get("id"))
        self._using(lambda session: self._private_part(session, found))
        public = self._using(lambda session: _public_part(session, found))
        if isinstance(public, ec.EllipticCurvePublicKey):
            return _EcKey(self, found, public)
        return _RsaKey(self, found, public)

    def sign(self, address: "_Address", data: bytes, mechanism: Mechanism) -> bytes:
        """Sign with a private key of the token."""
        return self._using(lambda session: self._private_part(session, address).sign(data, mechanism=mechanism))

    def _private_part(self, session: Any, address: "_Address") -> Any:
        """A private key, looked for once in a session."""
        if address not in self._found:
            self._found[address] = address.find(session, ObjectClass.PRIVATE_KEY)
        return self._found[address]

    def _using[T](self, work: Callable[[Any], T]) -> T:
        """Do ``work`` with a session that is logged in; the second time with a new one, where the first broke."""
        with self._one_at_a_time:
            try:
                return work(self._logged_in())
            except (pkcs11.NoSuchKey, pkcs11.MultipleObjectsReturned) as error:
                raise AuthorityUnusable(f"the token {self._label!r} has not exactly one such key: {error}") from None
            except pkcs11.PKCS11Error:
                self._drop_session()
            try:
                return work(self._logged_in())
            except pkcs11.PKCS11Error as error:
                self._drop_session()
                raise TokenAway(f"the PKCS#11 token does not sign: {_name(error)}") from None

    def _logged_in(self) -> Any:
        if self._session is None:
            try:
                self._session = self._open()
            except TokenUnusable as error:
                raise TokenAway(error.detail) from None
        return self._session

    def _drop_session(self) -> None:
        self._found.clear()
        with contextlib.suppress(pkcs11.PKCS11Error):
            self._session.close()
        self._session = None

    def _open(self) -> Any:
        try:
            return self._library.get_token(token_label=self._label).open(rw=True, user_pin=self._pin)
        except pkcs11.PKCS11Error as error:
            raise TokenUnusable(_WHY.get(type(error), f"the PKCS#11 token cannot be used: {_name(error)}")) from None


class _Address:
    """How a key is found: by its label, its id, or both."""

    def __init__(self, label: str | None, number: str | None) -> None:
        if label is None and number is None:
            raise AuthorityUnusable("the PKCS#11 URI of a key needs object= or id=")
        self._by: dict[str, Any] = {}
        if label is not None:
            self._by["label"] = label
        if number is not None:
            self._by["id"] = number.encode("latin-1", "replace")

    def find(self, session: Any, kind: ObjectClass) -> Any:
        return session.get_key(object_class=kind, **self._by)


class _Held:
    """What both kinds of keys of a token cannot do."""

    def private_numbers(self) -> Never:
        raise UnsupportedAlgorithm("the key stays in its token")

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> Never:  # noqa: A002 - as there
        del encoding, format, encryption_algorithm
        raise UnsupportedAlgorithm("the key stays in its token")

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        del memo
        return self


class _EcKey(_Held, ec.EllipticCurvePrivateKey):
    def __init__(self, token: HsmToken, address: _Address, public: ec.EllipticCurvePublicKey) -> None:
        self._token = token
        self._address = address
        self._public = public

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        algorithm: Any = signature_algorithm.algorithm
        digest = hashlib.new(algorithm.name, data).digest()
        raw = self._token.sign(self._address, digest, Mechanism.ECDSA)
        half = len(raw) // 2
        return utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    def exchange(self, algorithm: Any, peer_public_key: Any) -> Never:
        del algorithm, peer_public_key
        raise UnsupportedAlgorithm("the key of a CA signs and does nothing else")


class _RsaKey(_Held, rsa.RSAPrivateKey):
    def __init__(self, token: HsmToken, address: _Address, public: rsa.RSAPublicKey) -> None:
        self._token = token
        self._address = address
        self._public = public

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        mechanism = _RSA_MECHANISMS.get(getattr(algorithm, "name", ""))
        if not isinstance(padding, _PKCS1) or mechanism is None:
            raise UnsupportedAlgorithm("a CA signs by PKCS #1 v1.5 with SHA-2")
        return self._token.sign(self._address, bytes(data), mechanism)

    def decrypt(self, ciphertext: Any, padding: Any) -> Never:
        del ciphertext, padding
        raise UnsupportedAlgorithm("the key of a CA signs and does nothing else")


_PKCS1 = padding.PKCS1v15


def _generate(session: Any, algorithm: Algorithm, name: str, number: bytes) -> None:
    if algorithm in _CURVES:
        wanted = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])}
        parameters = session.create_domain_parameters(KeyType.EC, wanted, local=True)
        parameters.generate_keypair(id=number, label=name, store=True, private_template=_KEPT)
    else:
        bits = _RSA_BITS[algorithm]
        session.generate_keypair(KeyType.RSA, bits, id=number, label=name, store=True, private_template=_KEPT)


def _public_part(session: Any, address: _Address) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    public = address.find(session, ObjectClass.PUBLIC_KEY)
    der = encode_ec_public_key(public) if public.key_type == KeyType.EC else encode_rsa_public_key(public)
    key = load_der_public_key(der)
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise AuthorityUnusable("the key in the token is neither EC nor RSA")
    return key


def _parsed(uri: str) -> dict[str, str]:
    """The path attributes of a PKCS#11 URI; bytes of ``id`` as Latin-1."""
    path = uri.removeprefix(_SCHEME).partition("?")[0]
    pairs = (part.partition("=") for part in path.split(";") if part)
    return {name: unquote(value, encoding="latin-1" if name == "id" else "utf-8") for name, _, value in pairs}


def _name(error: pkcs11.PKCS11Error) -> str:
    return str(error) or type(error).__name__
