"""The lists: definitions that a caller may see, as their upstreams wrote them, page by page.

A cursor is sealed, so that it is opaque and only ever ours; it says where the next page begins, not what is on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from interlock_common.messages.catalog import DefinitionKind
from interlock_common.sealing import SealBroken, Sealer
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.jsonrpc import INVALID_PARAMS, RpcError
from interlock_gateway.offers import Offer
from interlock_gateway.operations import Params
from interlock_gateway.routing import may_see_upstream

_TTL_MS = 10_000
_PURPOSE = "cursor"
_encode = msgspec.json.encode

LISTS: Mapping[str, tuple[DefinitionKind, str]] = {
    "tools/list": ("tool", "tools"),
    "resources/list": ("resource", "resources"),
    "resources/templates/list": ("template", "resourceTemplates"),
    "prompts/list": ("prompt", "prompts"),
}
"""What each method lists, and the member of its result that the list is in."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins: which of its definitions, of the upstream with this slug."""

    slug: str = ""
    index: int = 0


_position = msgspec.json.Decoder(Position)


@dataclass(frozen=True, slots=True)
class Listing:
    """Makes pages of at most ``page_size`` definitions."""

    sealer: Sealer
    page_size: int

    def page(self, method: str, offer: Offer, caller: Caller, params: Params, *, modern: bool) -> bytes:
        """The result object; private to the caller, since visibility differs between principals."""
        kind, member = LISTS[method]
        context = f"{method} {offer.server.id if offer.server else ''}".encode()
        shown, following = self._take(kind, offer, caller, self._begin(params, context))
        head = b'{"resultType":"complete","ttlMs":%d,"cacheScope":"private",' % _TTL_MS if modern else b"{"
        if following is not None:
            cursor = self.sealer.seal(_PURPOSE, _encode(following), context)
            head += b'"nextCursor":%s,' % _encode(cursor)
        return head + b'"%s":[' % member.encode() + b",".join(shown) + b"]}"

    def _take(
        self, kind: DefinitionKind, offer: Offer, caller: Caller, begin: Position
    ) -> tuple[list[bytes], Position | None]:
        shown: list[bytes] = []
        for slug, block in offer.upstreams(begin.slug):
            if not may_see_upstream(caller, block.upstream):
                continue
            routes = block.routes[kind]
            for index in range(begin.index if slug == begin.slug else 0, len(routes)):
                if not routes[index].usable:
                    continue
                if len(shown) == self.page_size:
                    return shown, Position(slug, index)
                shown.append(routes[index].public)
        return shown, None

    def _begin(self, params: Params, context: bytes) -> Position:
        if "cursor" not in params:
            return Position()
        try:
            return _position.decode(self.sealer.open(_PURPOSE, jsonrpc.string(params["cursor"], "cursor"), context))
        except (SealBroken, msgspec.DecodeError):
            raise RpcError(INVALID_PARAMS, "this cursor is none of ours, or not for this list", status=400) from None
