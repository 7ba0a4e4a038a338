import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import NotFound
from interlock_common.messages import resources, subjects
from interlock_common.messages.common import Actor, Empty
from interlock_common.messages.grants import (
    ClaimGrant,
    Grant,
    GrantClaim,
    RevokeGrant,
    StoreGrant,
    grant_key,
)
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import EmbeddedBus
from interlock_gateway.consents.grants import EdgeGrants, UsedOnce

KEY = grant_key("u1", "ada")


@dataclass
class Asked:
    """The catalog as the bus reaches it, and a mirror that shows what a test says."""

    replies: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: list[msgspec.Struct] = field(default_factory=list[msgspec.Struct])
    items: dict[str, Grant] = field(default_factory=dict[str, Grant])
    listeners: list[Any] = field(default_factory=list[Any])

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T:
        del timeout
        self.asked.append(message)
        answer = self.replies[subject]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, reply)
        return answer

    def get(self, key: str) -> Grant | None:
        return self.items.get(key)

    def on_change(self, listener: Any) -> None:
        self.listeners.append(listener)

    def show(self, grant: Grant | None) -> None:
        if grant is None:
            self.items.pop(KEY, None)
        else:
            self.items[KEY] = grant
        for listener in self.listeners:
            listener(KEY, grant)


@pytest.fixture
def catalog() -> Asked:
    return Asked()


@pytest.fixture
def grants(catalog: Asked) -> EdgeGrants:
    return EdgeGrants(catalog, cast("Mirror[Grant]", catalog))


async def test_an_edge_never_goes_back_to_a_grant_that_it_replaced(catalog: Asked, grants: EdgeGrants) -> None:
    old, new = Grant("old", 1), Grant("new", 2)
    catalog.show(old)
    catalog.replies[subjects.CATALOG_GRANT_STORE] = new
    await grants.store(StoreGrant("u1", "ada", "new", replaces=1))
    assert await grants.held("u1", "ada") == new
    catalog.show(new)
    catalog.show(Grant("newer", 3))
    assert await grants.held("u1", "ada") == Grant("newer", 3)
    assert await grants.held("u1", "eve") is None


async def test_a_dropped_grant_is_gone_before_the_mirror_says_so(catalog: Asked, grants: EdgeGrants) -> None:
    catalog.show(Grant("old", 1))
    catalog.replies[subjects.CATALOG_GRANT_REVOKE] = Empty()
    await grants.drop("u1", "ada", 1)
    assert catalog.asked == [RevokeGrant(Actor("ada"), "u1", "ada", 1)]
    assert await grants.held("u1", "ada") is None
    catalog.show(None)
    catalog.show(Grant("again", 5))
    assert await grants.held("u1", "ada") == Grant("again", 5)


async def test_a_grant_that_is_gone_already_is_dropped_and_one_is_not_revoked_twice(
    catalog: Asked, grants: EdgeGrants
) -> None:
    catalog.replies[subjects.CATALOG_GRANT_REVOKE] = NotFound("there is no such grant")
    await grants.drop("u1", "ada", 1)
    with pytest.raises(NotFound):
        await grants.revoke(RevokeGrant(Actor("ada"), "u1", "ada"))


async def test_whoever_waits_for_a_refresh_goes_on_when_the_mirror_shows_it(catalog: Asked, grants: EdgeGrants) -> None:
    catalog.show(Grant("old", 1))
    catalog.replies[subjects.CATALOG_GRANT_CLAIM] = GrantClaim(claimed=False)
    assert not await grants.claim(ClaimGrant("u1", "ada", 1, "edge-1", 30))
    waiting = asyncio.create_task(grants.newer("u1", "ada", 1, 5))
    await asyncio.sleep(0)
    catalog.show(Grant("new", 2))
    assert await waiting == Grant("new", 2)
    with pytest.raises(TimeoutError):
        await grants.newer("u1", "ada", 2, 0.01)


async def test_what_was_used_at_one_edge_was_used_at_all(embedded_bus: EmbeddedBus) -> None:
    one = Bus("gateway", embedded_bus.url, embedded_bus.identity("gateway"))
    other = Bus("gateway", embedded_bus.url, embedded_bus.identity("gateway"))
    await one.start()
    await other.start()
    try:
        await kv.ensure_bucket(one, resources.CONSENTS)
        assert await UsedOnce(one).first("start.1", 60)
        assert not await UsedOnce(other).first("start.1", 60)
        assert await UsedOnce(other).first("start.2", 60)
    finally:
        await one.stop()
        await other.stop()
