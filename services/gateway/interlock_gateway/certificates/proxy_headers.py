"""What a trusted proxy says of the client it speaks for, in the headers of nginx, Caddy, HAProxy and Envoy.

A certificate: ``X-SSL-Client-Cert`` (PEM in URL escapes, or base64 of the DER) with ``X-SSL-Client-Verify: SUCCESS``,
or the ``Cert`` of the last element of ``X-Forwarded-Client-Cert``. A name: ``X-Authenticated-User``, or where no
certificate is passed on ``X-SSL-Client-S-DN-CN`` or ``X-SSL-Client-S-DN``, also with ``X-SSL-Client-Verify: SUCCESS``.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from interlock_common.errors import InterlockError
from interlock_gateway.certificates.encodings import der_of
from interlock_gateway.certificates.errors import CredentialsDisagree, ProxyMisconfigured, ProxyVerifyFailed
from interlock_gateway.certificates.forwarded import last_element
from interlock_gateway.certificates.identity import IdentityRules
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.shown import Shown

CERT, VERIFY = b"x-ssl-client-cert", b"x-ssl-client-verify"
DN, CN = b"x-ssl-client-s-dn", b"x-ssl-client-s-dn-cn"
FORWARDED = b"x-forwarded-client-cert"
USER, ORGANIZATION = b"x-authenticated-user", b"x-user-organization"
FAMILY = b"x-ssl-client-"
"""Every header of this family speaks of the client's certificate."""
_SPELT = {
    CERT: "X-SSL-Client-Cert", VERIFY: "X-SSL-Client-Verify", DN: "X-SSL-Client-S-DN", CN: "X-SSL-Client-S-DN-CN",
    FORWARDED: "X-Forwarded-Client-Cert", USER: "X-Authenticated-User", ORGANIZATION: "X-User-Organization",
}  # fmt: skip
_SUCCESS, _NONE = b"success", b"none"
_MAX_NAME = 1024
_REMEMBERED = 4096
_HEADERS = 256  # names of headers; anybody may make up others
_EMAIL_NAMES = {"emailAddress": NameOID.EMAIL_ADDRESS, "E": NameOID.EMAIL_ADDRESS}

type Pairs = Sequence[tuple[bytes, bytes]]


class ProxyHeaders:
    """Reads what proxies say; the user's name stands in ``user_header``.

    ``verified`` raises for a certificate that this edge can see itself does not belong to the CAs it knows.
    """

    def __init__(
        self, rules: IdentityRules, user_header: str = _SPELT[USER],
        verified: Callable[[PeerCertificate], None] = lambda _peer: None,
    ) -> None:  # fmt: skip
        self._rules = rules
        self._user = user_header.lower().encode("latin-1")
        self._spelt = {**_SPELT, self._user: user_header}
        self._names = frozenset({USER, self._user, ORGANIZATION, FORWARDED})
        self._verified = verified
        self.speaks: Callable[[bytes], bool] = lru_cache(_HEADERS)(self._speaks)
        """Whether a header speaks of who the client is, so that nobody but a trusted proxy may send it."""
        self._read_once = lru_cache(_REMEMBERED)(_certificate)

    def _speaks(self, name: bytes) -> bool:
        return name in self._names or name.startswith(FAMILY)

    def spelt(self, name: bytes) -> str:
        return self._spelt.get(name, name.decode("latin-1"))

    @property
    def wanted(self) -> str:
        """What a proxy should send, for a message."""
        return f"{self._spelt[self._user]} or {_SPELT[CERT]}"

    def read(self, pairs: Pairs) -> Shown | None:
        """What the headers show, None where they show nothing; what is wrong with them is in ``trouble``."""
        try:
            return self._read(self._once(pairs))
        except InterlockError as error:
            return Shown(trouble=error)

    def _once(self, pairs: Pairs) -> dict[bytes, bytes]:
        """Headers by name; an empty one is none. Of two of a name nobody could say which the proxy means."""
        said: dict[bytes, bytes] = {}
        for name, value in pairs:
            if name in said:
                raise ProxyMisconfigured(f"the proxy sent {self.spelt(name)} more than once", header=self.spelt(name))
            said[name] = value.strip()
        return {name: value for name, value in said.items() if value}

    def _read(self, said: dict[bytes, bytes]) -> Shown | None:
        certificate = self._certificate_of(said)
        user = said.get(self._user)
        organization = _text(said[ORGANIZATION], _SPELT[ORGANIZATION]) if ORGANIZATION in said else None
        if certificate is not None:
            self._check_agreement(certificate, said)
            name = None if user is None else _text(user, self._spelt[self._user])
            return Shown(certificate, name, certificate.organization or organization, vouched=True)
        said_name = None if user is None else _text(user, self._spelt[self._user])
        name = self._by_common_name(said, said_name)
        return None if name is None else Shown(user=name, organization=organization or _organization(said))

    def _by_common_name(self, said: dict[bytes, bytes], user: str | None) -> str | None:
        """The name of a client whose certificate was not passed on; None where the proxy names nobody."""
        common_name = _common_name(said)
        if common_name is None:
            return user
        name = self._rules.of_common_name(common_name)
        if user is not None:
            if user not in (common_name, name):
                raise CredentialsDisagree(f"{self._spelt[self._user]} and the common name are different principals")
            return name or user
        if name is None:
            raise ProxyMisconfigured(
                f"no rule takes the name of a client from its common name: the proxy must send {_SPELT[CERT]}",
                header=_SPELT[CERT],
            )
        return name

    def _certificate_of(self, said: dict[bytes, bytes]) -> PeerCertificate | None:
        """The certificate that was passed on; raises where the proxy does not say that it verified."""
        of_family = [name for name in (CERT, DN, CN) if name in said]
        verify = said.get(VERIFY, b"").lower()
        if VERIFY in said and verify != _SUCCESS:
            if verify == _NONE and not of_family and self._user not in said:
                return None
            raise ProxyVerifyFailed("the proxy says that the client's certificate did not verify")
        if of_family and VERIFY not in said:
            raise ProxyMisconfigured(
                f"the proxy sent {self.spelt(of_family[0])} and no {_SPELT[VERIFY]}", header=_SPELT[VERIFY]
            )
        if VERIFY in said and not of_family:
            raise ProxyMisconfigured(
                f"the proxy sent {_SPELT[VERIFY]} and neither {_SPELT[CERT]} nor {_SPELT[CN]}", header=_SPELT[CERT]
            )
        if CERT in said:
            return self._certificate(said[CERT])
        if FORWARDED not in said:
            return None
        encoded = last_element(said[FORWARDED]).get("cert")
        if not encoded:
            raise ProxyMisconfigured(
                f"the proxy sent {_SPELT[FORWARDED]} without Cert: set_current_client_cert_details needs cert: true",
                header=_SPELT[FORWARDED],
            )
        return self._certificate(encoded)

    def _certificate(self, text: bytes) -> PeerCertificate:
        peer = self._read_once(text)
        self._verified(peer)
        return peer

    def _check_agreement(self, certificate: PeerCertificate, said: dict[bytes, bytes]) -> None:
        if CN in said and _text(said[CN], _SPELT[CN]) != certificate.common_name:
            raise ProxyMisconfigured(f"{_SPELT[CN]} is not the common name of {_SPELT[CERT]}", header=_SPELT[CN])


def _certificate(text: bytes) -> PeerCertificate:
    return PeerCertificate.of(der_of(text))


def _common_name(said: dict[bytes, bytes]) -> str | None:
    if CN in said:
        return _text(said[CN], _SPELT[CN])
    return _attribute(said[DN], NameOID.COMMON_NAME) if DN in said else None


def _organization(said: dict[bytes, bytes]) -> str | None:
    return _attribute(said[DN], NameOID.ORGANIZATION_NAME) if DN in said else None


@lru_cache(_REMEMBERED)
def _attribute(name: bytes, oid: x509.ObjectIdentifier) -> str | None:
    """One attribute of a distinguished name, where it is there once.

    The forms are ``CN=ada,O=Engines`` (RFC 4514; nginx) and ``/O=Engines/CN=ada`` (HAProxy, and nginx as it was).
    """
    text = _text(name, _SPELT[DN])
    if text.startswith("/"):
        parts = [part.partition("=") for part in text[1:].split("/")]
        short = "CN" if oid == NameOID.COMMON_NAME else "O"
        found = [value for key, _, value in parts if key.strip().upper() == short]
    else:
        try:
            parsed = x509.Name.from_rfc4514_string(text, _EMAIL_NAMES)
        except ValueError:
            raise ProxyMisconfigured(f"{_SPELT[DN]} is no distinguished name", header=_SPELT[DN]) from None
        found = [str(attribute.value) for attribute in parsed.get_attributes_for_oid(oid)]
    return found[0] if len(found) == 1 and found[0] else None


def _text(value: bytes, header: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ProxyMisconfigured(f"{header} is no UTF-8", header=header) from None
    if len(text) > _MAX_NAME or not text.isprintable():
        raise ProxyMisconfigured(f"{header} is too long, or cannot be printed", header=header)
    return text
