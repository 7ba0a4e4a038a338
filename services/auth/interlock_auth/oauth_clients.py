"""Clients of the authorization server: what they may say of themselves, and who they show to be."""

import hmac
import re
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from authlib.oauth2.rfc7591 import ClientMetadataClaims  # pyright: ignore[reportMissingTypeStubs] - it has none
from joserfc.errors import JoseError

from interlock_auth.errors import KeysUnusable
from interlock_auth.jwks import read_keys
from interlock_auth.oauth_errors import InvalidClient, InvalidClientMetadata, InvalidRedirectUri
from interlock_auth.oauth_models import ClientRow
from interlock_auth.oauth_store import digest_of
from interlock_common.messages.issuers import PinnedKey

AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a grant type
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693, section 2.1
GRANT_TYPES = (AUTHORIZATION_CODE, REFRESH_TOKEN)
ALL_GRANT_TYPES = (*GRANT_TYPES, TOKEN_EXCHANGE)
PRIVATE_KEY_JWT = "private_key_jwt"
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", PRIVATE_KEY_JWT)

MAX_DOCUMENT = 16 * 1024
_MAX_URI = 2048
_MAX_URIS = 10
_MAX_NAME = 100
_URI = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")  # RFC 3986, so neither space nor backslash
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_APPLICATIONS = frozenset({"claude", "cursor", "vscode", "vscode-insiders", "windsurf", "zed"})
"""Schemes of applications in use that are no reversed domain names, as RFC 8252, section 7.1, wants them."""
_SERVER: dict[str, object] = {
    "grant_types_supported": ALL_GRANT_TYPES,
    "response_types_supported": ["code"],
    "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
}


class _KeySet(msgspec.Struct, frozen=True):
    """Keys as a client gives them; they are looked at where it is to sign with them."""

    keys: list[dict[str, Any]]


class _Document(msgspec.Struct, frozen=True):
    """The client metadata (RFC 7591, section 2) that decide anything here."""

    redirect_uris: tuple[str, ...] = ()
    client_id: str = ""
    client_name: str = ""
    grant_types: tuple[str, ...] = (AUTHORIZATION_CODE,)
    token_endpoint_auth_method: str = ""
    client_secret: str | None = None
    jwks: _KeySet | None = None
    jwks_uri: str = ""
    tls_client_certificate_bound_access_tokens: bool = False


@dataclass(frozen=True)
class Client:
    """A client, wherever it was described: registered here, or by the document that its id leads to."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    auth_method: str = "none"
    secret_digest: bytes | None = None
    keys: tuple[PinnedKey, ...] = ()
    certificate_bound: bool = False

    @property
    def refreshes(self) -> bool:
        return REFRESH_TOKEN in self.grant_types

    def may_return_to(self, uri: str) -> bool:
        """Whether ``uri`` is one of the registered, letter by letter; only the port of a loopback address is free."""
        return uri in self.redirect_uris or any(_same_loopback(uri, known) for known in self.redirect_uris)

    def authenticate(self, secret: str, method: str) -> None:
        """Raise InvalidClient unless the client shows its secret in the way it registered."""
        if PRIVATE_KEY_JWT in {method, self.auth_method}:
            raise InvalidClient("the client did not show who it is in the way it registered")
        if self.secret_digest is None:
            if secret or method != "none":
                raise InvalidClient("this client is public and has no secret")
        elif method != self.auth_method or not hmac.compare_digest(digest_of(secret), self.secret_digest):
            raise InvalidClient("the client did not show its secret, or not in the way it registered")


def is_document_url(client_id: str) -> bool:
    """Whether a client id is the address of a metadata document, rather than one that was given out here."""
    return client_id.startswith("https://")


def client_of_row(row: ClientRow) -> Client:
    uris = msgspec.json.decode(row.redirect_uris, type=tuple[str, ...])
    grant_types = msgspec.json.decode(row.grant_types, type=tuple[str, ...])
    keys = () if row.jwks is None else msgspec.json.decode(row.jwks, type=tuple[PinnedKey, ...])
    return Client(
        row.id, row.name, uris, grant_types, row.auth_method, row.secret_digest, keys, row.certificate_bound
    )  # fmt: skip


def client_of_metadata(client_id: str, metadata: msgspec.Raw) -> Client:
    """A client as it describes itself; raises InvalidClientMetadata naming what is wrong.

    Without an authentication method it is one with a secret (RFC 7591, section 2).
    """
    document = _checked(bytes(metadata))
    method = document.token_endpoint_auth_method or "client_secret_basic"
    name = printable(document.client_name) or client_id
    return Client(
        client_id, name, document.redirect_uris, document.grant_types, method, None, _keys(document, method),
        document.tls_client_certificate_bound_access_tokens,
    )  # fmt: skip


def client_of_document(client_id: str, document_text: str) -> Client:
    """A client as the document says that its id leads to: it names that id itself, and has no secret."""
    document = _checked(document_text.encode())
    if document.client_id != client_id:
        raise InvalidClientMetadata("the document at client_id names another client_id")
    if document.token_endpoint_auth_method not in {"", "none"} or document.client_secret is not None:
        raise InvalidClientMetadata("a client of a metadata document has no secret: token_endpoint_auth_method is none")
    host = urlsplit(client_id).hostname or ""
    name = printable(document.client_name)
    return Client(
        client_id, f"{name} ({host})" if name else host, document.redirect_uris,
        tuple(dict.fromkeys((*document.grant_types, REFRESH_TOKEN))),
        certificate_bound=document.tls_client_certificate_bound_access_tokens,
    )  # fmt: skip


def printable(text: str) -> str:
    """A name as it may be shown to whoever decides: one line, and nothing that turns its direction around."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_NAME]


def _checked(metadata: bytes) -> _Document:
    if len(metadata) > MAX_DOCUMENT:
        raise InvalidClientMetadata(f"client metadata have at most {MAX_DOCUMENT} bytes")
    try:
        document = msgspec.json.decode(metadata, type=_Document)
        claims = cast("dict[str, Any]", msgspec.json.decode(metadata))
        claims.pop("redirect_uris", None)  # the library takes none of RFC 8252, section 7.1; they are checked below
        claims.pop("jwks", None)  # and it takes keys of any kind
        ClientMetadataClaims(claims, {}, ClientMetadataClaims.get_claims_options(_SERVER)).validate()
    except msgspec.DecodeError as error:
        raise InvalidClientMetadata(f"the client metadata do not fit: {error}") from None
    except JoseError as error:
        raise InvalidClientMetadata(f"the client metadata do not fit: {printable(str(error))}") from None
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):  # forms that the library did not expect
        raise InvalidClientMetadata("the client metadata do not fit: malformed") from None
    _check_grants(document)
    return document


def _check_grants(document: _Document) -> None:
    """A client sends its users here, or exchanges tokens, for which it must show who it is; or both."""
    exchanges, sends = TOKEN_EXCHANGE in document.grant_types, AUTHORIZATION_CODE in document.grant_types
    if not sends and document.grant_types != (TOKEN_EXCHANGE,):
        raise InvalidClientMetadata("grant_types must have authorization_code, or be token-exchange alone")
    public = document.token_endpoint_auth_method == "none"  # noqa: S105 - a method
    if exchanges and public:
        raise InvalidClientMetadata("token_endpoint_auth_method of a client that exchanges tokens is not none")
    if len(document.redirect_uris) > _MAX_URIS or (sends and not document.redirect_uris):
        raise InvalidRedirectUri(f"redirect_uris names between 1 and {_MAX_URIS} addresses")
    for uri in document.redirect_uris:
        _check_redirect(uri)


def _keys(document: _Document, method: str) -> tuple[PinnedKey, ...]:
    """The public keys of a client that shows who it is by one of them; they come with its metadata."""
    if method != PRIVATE_KEY_JWT:
        return ()
    if document.jwks_uri or document.jwks is None:
        raise InvalidClientMetadata("private_key_jwt needs the public keys themselves, in jwks")
    try:
        return read_keys(msgspec.json.encode(document.jwks))
    except KeysUnusable as error:
        raise InvalidClientMetadata(f"jwks: {error.detail}") from None


def _check_redirect(uri: str) -> None:
    """Take https, http on this machine, a scheme of an application (RFC 8252, section 7); nothing that runs."""
    if len(uri) > _MAX_URI or not _URI.fullmatch(uri) or "#" in uri:
        raise InvalidRedirectUri(f"a redirect URI has at most {_MAX_URI} characters of RFC 3986 and no fragment")
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidRedirectUri("a redirect URI is an absolute URI") from None
    if parts.username is not None or parts.password is not None or "*" in parts.netloc:
        raise InvalidRedirectUri("a redirect URI has neither user information nor wildcards")
    web = parts.scheme == "https" and host
    local = parts.scheme == "http" and host in _LOOPBACK
    application = "." in parts.scheme or parts.scheme in _APPLICATIONS
    if not (web or local or application):
        raise InvalidRedirectUri("a redirect URI is https, http on a loopback address, or of an application's own")


def _same_loopback(asked: str, known: str) -> bool:
    """Whether two http addresses of this machine differ in their port only (RFC 8252, section 7.3)."""
    try:
        one, other = urlsplit(asked), urlsplit(known)
        _ = one.port
    except ValueError:
        return False
    if not _URI.fullmatch(asked) or one.scheme != "http" or other.scheme != "http" or other.hostname not in _LOOPBACK:
        return False
    return "@" not in one.netloc and _without_port(one.netloc) == _without_port(other.netloc) and (
        (one.path, one.query, "#" in asked) == (other.path, other.query, False)
    )  # fmt: skip


def _without_port(netloc: str) -> str:
    return re.sub(r":\d{0,5}$", "", netloc)
