"""The causes that are told apart, each with its exit code and what to do about it."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Known:
    """``name`` is what scripts read; ``advice`` is for people."""

    name: str
    exit_code: int
    advice: str


class Cause(Enum):
    """What keeps two sides from talking TLS."""

    DNS = Known("dns", 10, "check the name, and which resolver this machine asks")
    REFUSED = Known("refused", 11, "nothing listens there: is the service up, and on this address and port?")
    TIMEOUT = Known("timeout", 12, "a firewall may drop the packets, or the machine is away")
    UNREACHABLE = Known("unreachable", 13, "there is no route: check networks and routes between the two machines")
    SCHEME = Known(
        "scheme_mismatch", 20, "the port speaks plain HTTP: use http:// there, or switch TLS on (SSL=true, CERT_FILE)"
    )
    PLAIN_HTTP_TO_TLS = Known("plain_http_on_tls_port", 21, "the port speaks TLS: use https:// in the address")
    NOT_TLS = Known("not_tls", 22, "something else listens there: check the port")
    OLD_VERSION = Known(
        "no_common_version", 23, "the server is older than TLS 1.2: it has to be updated or reconfigured"
    )
    HANDSHAKE = Known("handshake", 24, "see the reason: the server's log has its side of it")
    UNTRUSTED = Known(
        "untrusted", 30, "trust its CA (--ca FILE here, the trust store elsewhere), or use a certificate of a known one"
    )
    INCOMPLETE = Known(
        "incomplete_chain", 31, "the server has to send its intermediate certificates: append them to its CERT_FILE"
    )
    EXPIRED = Known("expired", 32, "renew the certificate: `interlock certs check` finds the others that end")
    NOT_YET = Known("not_yet_valid", 33, "one of the two clocks is wrong, or the certificate was made for later")
    NAME = Known("hostname_mismatch", 34, "use a name that the certificate has, or have it made anew with this one")
    CLIENT_CERTIFICATE = Known(
        "client_certificate_missing", 35, "the server demands a client certificate: give one with --cert and --key"
    )
    CLIENT_REFUSED = Known(
        "client_certificate_refused",
        36,
        "the server does not take this client certificate: does its CA_CERTS know the issuer?",
    )
    UNUSABLE = Known("certificate_unusable", 37, "the certificate breaks a rule: see the reason")


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, with what was seen."""

    cause: Cause
    seen: str
