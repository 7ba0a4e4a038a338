"""A token's life at a whole deployment: limited, used, narrowed, explained."""

import asyncio
from typing import Any

import httpx

from interlock_common.testing.waiting import until
from stories.load import modern_call
from stories.stage import Stage

TOOL = "notes-search_notes"


def minted(stage: Stage, **scopes: Any) -> tuple[str, str]:
    with stage.deployment.rest(stage.token) as client:
        body = {"name": "story of tokens", "lifetime": 600, "scopes": scopes}
        issued = client.post("/tokens", json=body).raise_for_status().json()
    return issued["id"], issued["token"]


def called(stage: Stage, token: str) -> tuple[int, str]:
    """The status of a tool call with the token, and the code of its refusal."""
    headers, body = modern_call(TOOL, {"query": "x"}, 1)
    answer = httpx.post(stage.mcp, headers=headers | {"Authorization": f"Bearer {token}"}, json=body, timeout=20)
    error = answer.json().get("error", {})
    return answer.status_code, error.get("data", {}).get("code", "")


async def test_a_token_is_limited_by_where_when_and_how_often(stage: Stage) -> None:
    expected = {
        ("ip_restrictions", ("203.0.113.0/24",)): (403, "scope_ip"),
        ("ip_restrictions", ("0.0.0.0/0", "::/0")): (200, ""),
        ("permissions", ("tools.read",)): (403, "insufficient_scope"),
    }
    for (scope, value), answer in expected.items():
        _, token = minted(stage, **{scope: list(value)})
        assert await asyncio.to_thread(called, stage, token) == answer
    _, limited = minted(stage, usage_limits={"requests_total": 3})
    answers = [await asyncio.to_thread(called, stage, limited) for _ in range(4)]
    assert answers == [(200, "")] * 3 + [(403, "scope_usage")]


async def test_use_is_counted_and_scopes_become_narrower_at_once(stage: Stage) -> None:
    token_id, token = minted(stage)
    for _ in range(3):
        assert await asyncio.to_thread(called, stage, token) == (200, "")
    with stage.deployment.rest(stage.token) as client:

        def counted() -> bool:
            return client.get(f"/tokens/{token_id}/usage").raise_for_status().json()["total"] == 3

        await until(counted, 15)
        changed = client.put(f"/tokens/{token_id}", json={"scopes": {"permissions": ["tools.read"]}})
        assert changed.raise_for_status().json()["scopes"]["permissions"] == ["tools.read"]
        await until(lambda: called(stage, token) == (403, "insufficient_scope"), 5)
        wider = client.put(f"/tokens/{token_id}", json={"scopes": {}})
        assert (wider.status_code, wider.json()["type"]) == (403, "urn:interlock:error:not_contained")
        found = client.post("/admin/explain", json={"token": token, "tool": TOOL}).raise_for_status().json()
        assert (found["code"], found["rules"][-1]["name"]) == ("insufficient_scope", "permission")
        assert "scopes.permissions" in found["rules"][-1]["reason"]
        client.delete(f"/tokens/{token_id}").raise_for_status()
        found = client.post("/admin/explain", json={"token": token, "tool": TOOL}).raise_for_status().json()
        assert (found["code"], found["rules"][-1]["name"]) == ("token_revoked", "revocation")
    with stage.deployment.rest(minted(stage, permissions=["tools.execute"])[1]) as client:
        told = client.post("/admin/explain", json={"token": token, "tool": TOOL})
    assert told.status_code == 403
    assert "revo" not in told.text
