"""What is revoked, read by an edge from a real bus: in pages that auth gives where it is much, else one by one."""

import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from interlock_common import kv, revocation_set
from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.auth import Revocation, revocation_key
from interlock_common.messages.resources import REVOCATIONS
from interlock_common.messages.revocation import ReadRevoked, RevokedPage, SelectorRevocation, selector_key
from interlock_common.revocation_set import RevocationMirror, RevocationSet, mark_of
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until

USER = selector_key("user", "ada")


class Auth:
    """Revokes, and answers pages of what it held when ``read`` was called."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.held = RevocationSet()
        self.sequence = 0
        self.asked = 0
        self.away = False
        bus.endpoint(subjects.AUTH_REVOCATION_READ, ReadRevoked, self.page)

    async def page(self, request: ReadRevoked) -> RevokedPage:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return self.held.page(request.page, self.sequence)

    async def revoke(self, token_id: str) -> None:
        await kv.put(self.bus, REVOCATIONS, revocation_key(token_id), Revocation(token_id, 1))

    async def read(self) -> None:
        mirror = RevocationMirror(self.bus)
        await mirror.start()
        await mirror.wait_complete()
        self.held, self.sequence = mirror.items, mirror.applied
        await mirror.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[EmbeddedBus]:
    server = EmbeddedBus(tmp_path)
    await server.start()
    yield server
    await server.stop(kill=True)


@pytest.fixture
async def auth(server: EmbeddedBus) -> AsyncGenerator[Auth]:
    auth = Auth(server.bus("auth"))
    await auth.bus.start()
    await kv.ensure_bucket(auth.bus, REVOCATIONS)
    yield auth
    await auth.bus.stop()


@pytest.fixture
async def edge(server: EmbeddedBus) -> AsyncGenerator[RevocationMirror]:
    bus = server.bus("gateway")
    await bus.start()
    mirror = RevocationMirror(bus, pages=True)
    yield mirror
    await mirror.stop()
    await bus.stop()


@pytest.mark.parametrize("away", [False, True])
async def test_an_edge_has_what_was_revoked_before_and_after_the_pages(
    auth: Auth, edge: RevocationMirror, monkeypatch: pytest.MonkeyPatch, *, away: bool
) -> None:
    monkeypatch.setattr(revocation_set, "MANY", 3)
    ids = [*(str(uuid.uuid4()) for _ in range(6)), "no-uuid"]
    for token_id in ids[:5]:
        await auth.revoke(token_id)
    await kv.put(auth.bus, REVOCATIONS, USER, SelectorRevocation("user", "ada", 100, 1))
    await auth.read()
    auth.away = away
    await kv.delete(auth.bus, REVOCATIONS, revocation_key(ids[0]))
    await auth.revoke(ids[5])
    await auth.revoke(ids[6])
    await edge.start()
    await edge.wait_complete()
    assert auth.asked
    await until(lambda: edge.items.revokes([mark_of(ids[6])]), 5)
    assert [edge.items.revokes([mark_of(token_id)]) for token_id in ids] == [False, *[True] * 6]
    assert edge.items.before == {USER: 100}
    last, digest = edge.applied, edge.items.digest
    await auth.read()
    assert (auth.sequence, auth.held.digest) == (last, digest)


async def test_what_is_distrusted_is_read_one_by_one(
    auth: Auth, edge: RevocationMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_set, "MANY", 1)
    await auth.revoke("t-1")
    await auth.read()
    auth.held["jti.never-was"] = 1
    await edge.start()
    await edge.wait_complete()
    assert edge.items.digest == auth.held.digest, "pages are believed"
    asked, replaced = auth.asked, list[bool]()
    edge.on_replaced(lambda: replaced.append(True))
    await edge.reread()
    await until(lambda: bool(replaced), 5)
    assert (auth.asked, edge.items.revokes(["never-was"]), edge.items.revokes(["t-1"])) == (asked, False, True)


async def test_few_are_not_asked_for(auth: Auth, edge: RevocationMirror) -> None:
    await auth.revoke("t-1")
    await edge.start()
    await edge.wait_complete()
    assert (auth.asked, edge.items.revokes(["t-1"])) == (0, True)
