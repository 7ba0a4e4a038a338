"""How the edge says no: errors in the words of JSON-RPC, challenges, and origins that may not call."""

from collections.abc import Container, Mapping

from interlock_common.errors import InterlockError, NotFound, PermissionDenied, TooLarge, Unauthenticated
from interlock_gateway.errors import ScopeMissing
from interlock_gateway.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError

type Headers = Mapping[bytes, bytes]

_OTHER_SITES = frozenset({b"cross-site", b"same-site"})


def as_rpc(error: InterlockError) -> RpcError:
    """An error of ours in the words of JSON-RPC, with the HTTP status it has on REST too."""
    ours = isinstance(error, NotFound | TooLarge | Unauthenticated | PermissionDenied)
    code = INVALID_REQUEST if ours else INTERNAL_ERROR
    return RpcError(code, error.detail, status=error.status, data={"code": error.code, **error.fields})


def check_origin(headers: Headers, origins: Container[str]) -> None:
    """A browser's page may call only from an origin we know (MCP transports, security).

    A form or a link of another site may come without its origin; with it may come the certificate of the browser.
    """
    origin = headers.get(b"origin")
    if origin is None and headers.get(b"sec-fetch-site", b"none") in _OTHER_SITES:
        raise PermissionDenied("a page of another site may not call here")
    if origin is not None and (value := origin.decode("latin-1")) not in origins:
        raise PermissionDenied("the origin of the page is not allowed here", origin=value[:200])


def challenge(
    cause: InterlockError | None, headers: Headers, server_id: str | None, public_url: str, *, oauth: bool = True
) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a refusal: when to try again, and what is lacking where that is a credential.

    ``oauth`` says whether the endpoint advertises it: some clients drop their own header where it does. Every way
    to an endpoint is one resource, named by the URL of streamable HTTP.

    ``Retry-After`` (RFC 9110, section 10.2.3); ``WWW-Authenticate`` (RFC 6750, section 3; RFC 9728, section 5.1).
    """
    if cause is not None and "retry_after" in cause.fields:
        return ((b"retry-after", str(cause.fields["retry_after"]).encode()),)
    if not isinstance(cause, Unauthenticated | ScopeMissing):
        return ()
    path = f"/servers/{server_id}/mcp" if server_id else "/mcp"
    base = public_url or f"http://{headers.get(b'host', b'').decode('latin-1')}"
    said = [f'resource_metadata="{base}/.well-known/oauth-protected-resource{path}"'] if oauth else []
    if isinstance(cause, ScopeMissing):
        said.append('error="insufficient_scope"')
        if "scope" in cause.fields:
            said.append(f'scope="{cause.fields["scope"]}"')
    elif cause.code != "token_missing":
        said.append('error="invalid_token"')
    return ((b"www-authenticate", " ".join(["Bearer", ", ".join(said)]).strip().encode()),)
