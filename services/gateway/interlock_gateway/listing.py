"""``tools/list``: the definitions that a caller may see, as their upstreams wrote them."""

from interlock_gateway.authentication import Caller
from interlock_gateway.routing import Catalog
from interlock_gateway.tool_calls import may_see, offer_for

_TTL_MS = 10_000


def list_tools(catalog: Catalog, caller: Caller, server_id: str | None, *, modern: bool) -> bytes:
    """The result object; private to the caller, since visibility differs between principals."""
    offer = offer_for(catalog, caller, server_id)
    shown = [route.definition for route in offer.routes.values() if may_see(caller, route)]
    head = (
        b'{"resultType":"complete","ttlMs":%d,"cacheScope":"private","tools":[' % _TTL_MS if modern else b'{"tools":['
    )
    return head + b",".join(shown) + b"]}"
