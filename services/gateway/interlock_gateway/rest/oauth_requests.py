"""What OAuth requests say, read within bounds: parameters that come once, resources, client credentials."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import CatalogItem, VirtualServer, server_key
from interlock_gateway.rest.dependencies import dependencies, public_url

_MAX_REQUEST = 16 * 1024
_MAX_PARAMETERS = 32
_FORM = "application/x-www-form-urlencoded"
_MAX_SERVER_ID = 128
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523, section 2.2


class RequestRefused(InvalidInput):
    """A request that cannot be told from an attempt to say two things at once."""

    code = "invalid_request"


class TargetRefused(InvalidInput):
    code = "invalid_target"


@dataclass(frozen=True, slots=True)
class Target:
    """A resource of ours: what it is called in tokens, and the virtual server that it is; empty where it is none."""

    audience: str = ""
    server_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Who a client says it is, and how it shows that (RFC 6749, section 2.3.1)."""

    id: str
    secret: str = ""
    method: str = "none"

    @property
    def shown(self) -> bool:
        """Whether the client shows anything for it."""
        return self.method != "none"


def parameters(text: str) -> dict[str, str]:
    """Parameters, each of which comes once (RFC 6749, section 3.1); raises RequestRefused."""
    if len(text) > _MAX_REQUEST:
        raise RequestRefused(f"a request has at most {_MAX_REQUEST} bytes")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise RequestRefused("the parameters are malformed, or too many") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RequestRefused("a parameter comes twice")
    return found


async def form(request: Request) -> dict[str, str]:
    """The parameters of a form; raises RequestRefused."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise RequestRefused(f"the body must be {_FORM}")
    return parameters((await request.body()).decode("latin-1"))


def credentials(request: Request, said: Mapping[str, str]) -> ClientCredentials:
    """The client's credentials, out of the header, the form or an assertion, in one way only; raises RequestRefused."""
    header = request.headers.get("authorization", "")
    if "client_assertion" in said or "client_assertion_type" in said:
        if header or "client_secret" in said or said.get("client_assertion_type") != _ASSERTION:
            raise RequestRefused(f"a client that signs shows nothing else, and client_assertion_type is {_ASSERTION}")
        return ClientCredentials(said.get("client_id", ""), said.get("client_assertion", ""), "private_key_jwt")
    if not header:
        secret = said.get("client_secret", "")
        return ClientCredentials(said.get("client_id", ""), secret, "client_secret_post" if secret else "none")
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or "client_secret" in said:
        raise RequestRefused("a client shows who it is in one way: by HTTP Basic, or in the form")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise RequestRefused("the Authorization header is malformed") from None
    client_id = unquote_plus(name)
    if not colon or said.get("client_id", client_id) != client_id:
        raise RequestRefused("the Authorization header and the form name different clients")
    return ClientCredentials(client_id, unquote_plus(secret), "client_secret_basic")


def target(request: Request, resource: str) -> Target:
    """Which of ours a ``resource`` names (RFC 8707): the gateway, where it says nothing, or a virtual server.

    A server's endpoint is taken for one whether or not it exists, which is not for strangers to know; the token of one
    that does not opens nothing.
    """
    deps = dependencies(request)
    own = deps.consents.base
    if not resource:
        return Target(f"{own}/mcp")
    for item in deps.catalog.items.values():
        if isinstance(item, VirtualServer) and item.resource == resource:
            return _server(deps.catalog.items, item.id, resource)
    bases = (own, public_url(request))
    path = next((resource.removeprefix(base) for base in bases if f"{resource}/".startswith(f"{base}/")), "none")
    if path in {"", "/", "/mcp"}:
        return Target(f"{own}/mcp")
    parts = path.split("/")
    if len(parts) == 4 and (parts[1], parts[3]) == ("servers", "mcp") and _is_id(parts[2]):  # noqa: PLR2004
        return _server(deps.catalog.items, parts[2], f"{own}{path}")
    return Target()


def _server(items: Mapping[str, CatalogItem], server_id: str, audience: str) -> Target:
    server = items.get(server_key(server_id))
    if isinstance(server, VirtualServer) and server.api_key_only:
        return Target()
    own = server.resource if isinstance(server, VirtualServer) else ""
    return Target(own or audience, server_id)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= _MAX_SERVER_ID and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
