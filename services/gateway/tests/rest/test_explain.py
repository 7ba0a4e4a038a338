from dataclasses import replace

import httpx2
import pytest

from interlock_common.messages.common import Actor
from interlock_common.messages.explaining import Asked, Explanation, Rule
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import TOKEN, FakeWorld

FOUND = Explanation(
    allowed=False, code="token_expired", rules=(Rule("time", passed=False, reason="it has expired"),), principal="",
    token_id="", teams=(), scopes=None,
)  # fmt: skip


async def asked(actor: Actor) -> tuple[httpx2.Response, list[Asked]]:
    seen: list[Asked] = []

    def explain(asked: Asked) -> Explanation:
        seen.append(asked)
        return FOUND

    world = FakeWorld(actor=actor)
    app = create_rest_app(replace(world.dependencies(), explain=explain))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway.example") as client:
        body = {"token": "a.b.c", "tool": "notes-add", "server_id": "desk", "address": "10.0.0.1", "certificate": "PEM"}
        answer = await client.post("/admin/explain", json=body, headers={"authorization": TOKEN})
    return answer, seen


@pytest.mark.parametrize(
    "actor", [Actor("root@example.com", is_admin=True), Actor("aud@example.com", permissions=("admin.security_audit",))]
)
async def test_who_may_audit_is_told_which_rule_decides(actor: Actor) -> None:
    answer, seen = await asked(actor)
    assert answer.status_code == 200
    assert (answer.json()["code"], answer.json()["rules"][0]["name"]) == ("token_expired", "time")
    assert seen == [Asked("a.b.c", "notes-add", "desk", "10.0.0.1", "PEM")]


async def test_others_are_told_nothing() -> None:
    answer, seen = await asked(Actor("ada@example.com", permissions=("tools.execute", "admin.system_config")))
    assert (answer.status_code, seen) == (403, [])
    assert "token_expired" not in answer.text
