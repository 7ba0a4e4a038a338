"""Finding an upstream's authorization server, and what it can do (RFC 9728, RFC 8414, OpenID Connect Discovery).

A registration may say all of it, some of it, or nothing. PKCE with S256 is never done without: a server that does not
announce it is refused, as a code that was intercepted could be exchanged by whoever has it (RFC 9700, section 2.1.1).
"""

import re
from collections.abc import Iterable

import msgspec
from yarl import URL

from interlock_common.messages.catalog import Upstream
from interlock_gateway.upstreams.credentials import CredentialUnusable
from interlock_gateway.upstreams.oauth.grants import Client
from interlock_gateway.upstreams.oauth.token_endpoint import ClientAuth, TokenEndpoints

_OK, _CREATED = 200, 201
_MAX_SERVERS = 4
_METADATA = re.compile(r'resource_metadata\s*=\s*"([^"\s]{1,2048})"', re.IGNORECASE)
_SCOPE = re.compile(r'(?:^|[\s,])scope\s*=\s*"([^"]{1,2048})"', re.IGNORECASE)
_WORDS = re.compile(r"[\x21\x23-\x5b\x5d-\x7e ]{0,2048}")
_MAX_CLIENT = 2048
_HOST_SLASHES = 2
_MAX_CHALLENGE = 8192


class AuthorizationServer(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of an authorization server (RFC 8414, section 2), as far as it matters here."""

    issuer: str = ""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    registration_endpoint: str = ""
    revocation_endpoint: str = ""
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Found(msgspec.Struct, frozen=True):
    """Where a principal is asked, for what ``resource`` (RFC 8707) and ``scope``."""

    server: AuthorizationServer
    resource: str
    scope: str


class _Resource(msgspec.Struct, frozen=True):
    """Metadata of a protected resource (RFC 9728, section 2)."""

    resource: str = ""
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()


class _Registered(msgspec.Struct, frozen=True):
    """What a registration answers (RFC 7591, section 3.2.1)."""

    client_id: str
    client_secret: str = ""
    token_endpoint_auth_method: str = ""


class AuthorizationServers:
    """Finds authorization servers and registers with them; everything goes through the guard of addresses."""

    def __init__(self, http: TokenEndpoints) -> None:
        self._http = http

    async def find(self, upstream: Upstream) -> Found:
        """Where the users of ``upstream`` are asked; raises CredentialUnusable that says what is lacking."""
        public = upstream.credential.public
        what = f"the authorization server of upstream {upstream.name}"
        resource, scope = public.get("resource") or upstream.url, public.get("scope", "")
        if public.get("authorization_endpoint") and public.get("token_endpoint"):
            said = {name: public[name] for name in AuthorizationServer.__struct_fields__ if name in public}
            server = msgspec.convert(said, AuthorizationServer)
            self._check_endpoints(server, what)
            return Found(server, resource, scope)
        if public.get("issuer"):
            return Found(await self._metadata((public["issuer"],), what), resource, scope)
        described, hinted = await self._resource(upstream)
        if not scope:
            scope = hinted or " ".join(described.scopes_supported)
        if _WORDS.fullmatch(scope) is None:
            raise CredentialUnusable(f"upstream {upstream.name} asks for scopes that are none")
        # Before there was metadata of resources, servers were their own authorization servers (MCP 2025-03-26).
        issuers = described.authorization_servers or (str(URL(upstream.url).origin()),)
        resource = public.get("resource") or described.resource or upstream.url
        return Found(await self._metadata(issuers[:_MAX_SERVERS], what), resource, scope)

    async def register(self, upstream: Upstream, server: AuthorizationServer, redirect_uri: str, scope: str) -> Client:
        """Make the gateway known to a server that takes anybody (RFC 7591); raises CredentialUnusable."""
        what = f"the registration endpoint of upstream {upstream.name}"
        if not server.registration_endpoint:
            raise CredentialUnusable(
                f"the authorization server of upstream {upstream.name} registers nobody by itself: "
                "the credential needs the client_id it gave you"
            )
        wanted = _auth_method(server.token_endpoint_auth_methods_supported)
        body = {
            "client_name": "Interlock", "redirect_uris": [redirect_uri], "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": wanted,
        } | ({"scope": scope} if scope else {})  # fmt: skip
        answer = await self._http.fetch("POST", server.registration_endpoint, what=what, json=msgspec.json.encode(body))
        if answer.status not in {_OK, _CREATED}:
            raise CredentialUnusable(f"{what} refused: HTTP {answer.status}")
        try:
            made = msgspec.json.decode(answer.body, type=_Registered)
        except (msgspec.DecodeError, RecursionError):
            raise CredentialUnusable(f"{what} answered with what is no registration") from None
        if not made.client_id or max(len(made.client_id), len(made.client_secret)) > _MAX_CLIENT:
            raise CredentialUnusable(f"{what} answered with what is no registration")
        auth = _auth_method((made.token_endpoint_auth_method or wanted,)) if made.client_secret else "none"
        return Client(made.client_id, made.client_secret, auth, server.issuer, redirect_uri)

    async def _resource(self, upstream: Upstream) -> tuple[_Resource, str]:
        """What the upstream says of itself, and the scope that its challenge names; nothing where it says nothing."""
        what = f"upstream {upstream.name}"
        challenge = await self._challenge(upstream.url, what)
        scope = match.group(1) if (match := _SCOPE.search(challenge)) else ""
        named = _METADATA.search(challenge)
        url = URL(upstream.url)
        places = (
            [named.group(1)] if named
            else _well_known(url, "oauth-protected-resource", with_root=True)
        )  # fmt: skip
        for place in places:
            described = await self._document(place, f"the resource metadata of {what}", _Resource)
            if described is not None:
                if not _covers(described.resource, url):
                    raise CredentialUnusable(f"the resource metadata of {what} is about another resource")
                return described, scope
        return _Resource(), scope

    async def _challenge(self, url: str, what: str) -> str:
        """The ``WWW-Authenticate`` of an upstream that was asked without a credential; nothing where it has none."""
        try:
            probe = await self._http.fetch("GET", url, what=what)
        except CredentialUnusable:
            return ""
        found = (value for name, value in probe.headers.items() if name.lower() == "www-authenticate")
        return ", ".join(found)[:_MAX_CHALLENGE]

    async def _metadata(self, issuers: Iterable[str], what: str) -> AuthorizationServer:
        """The metadata of the first issuer that has any, which must name that issuer (RFC 8414, section 3.3)."""
        for issuer in issuers:
            url = self._http.checked(issuer, what)
            path = url.path.rstrip("/")
            places = [
                *_well_known(url, "oauth-authorization-server"), *_well_known(url, "openid-configuration"),
                *([str(url.origin()) + path + "/.well-known/openid-configuration"] if path else []),
            ]  # fmt: skip
            for place in places:
                server = await self._document(place, what, AuthorizationServer)
                if server is None:
                    continue
                if not same_issuer(server.issuer, issuer):
                    raise CredentialUnusable(f"{what} says that it is another issuer")
                if "S256" not in server.code_challenge_methods_supported:
                    raise CredentialUnusable(f"{what} does not announce PKCE with S256, which is required")
                self._check_endpoints(server, what)
                return server
        raise CredentialUnusable(f"{what} has no metadata that says where to ask")

    async def _document[T](self, url: str, what: str, kind: type[T]) -> T | None:
        answer = await self._http.fetch("GET", url, what=what)
        if answer.status != _OK:
            return None
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, RecursionError):
            return None

    def _check_endpoints(self, server: AuthorizationServer, what: str) -> None:
        """Addresses of endpoints are held to the same rules as upstreams, the one for browsers too."""
        for endpoint in (server.authorization_endpoint, server.token_endpoint):
            self._http.checked(endpoint, what)
        for endpoint in (server.registration_endpoint, server.revocation_endpoint):
            if endpoint:
                self._http.checked(endpoint, what)


def same_issuer(one: str, other: str) -> bool:
    """Whether two identifiers are the same; that of a whole host may or may not end in a slash (RFC 3986, 6.2.3)."""
    host = one.removesuffix("/")
    return one == other or (host == other.removesuffix("/") and host.count("/") == _HOST_SLASHES)


def _well_known(url: URL, name: str, *, with_root: bool = False) -> list[str]:
    """The well-known addresses of what has a path (RFC 8615; RFC 9728, section 3.1; RFC 8414, section 3.1)."""
    root = f"{url.origin()}/.well-known/{name}"
    path = url.path.rstrip("/")
    return [root + path, *([root] if with_root else [])] if path else [root]


def _covers(resource: str, url: URL) -> bool:
    """Whether metadata about ``resource`` counts for ``url``: the same, or above it at the same origin."""
    if not resource:
        return False
    try:
        said = URL(resource)
        same = said.origin() == url.origin()
    except ValueError:
        return False
    above = said.path.rstrip("/")
    return same and (url.path.rstrip("/") == above or url.path.startswith(f"{above}/"))


def _auth_method(supported: Iterable[str]) -> ClientAuth:
    offered = tuple(supported)
    if "client_secret_basic" in offered:
        return "client_secret_basic"
    return "client_secret_post" if "client_secret_post" in offered else "none"
