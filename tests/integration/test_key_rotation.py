"""The key that signs tokens is rotated under load: old tokens and new ones count, at every moment."""

import asyncio
from typing import Any

import jwt
import pytest

from stories.deployment import wait_for
from stories.load import steady_calls
from stories.stage import Stage, set_up

ROTATIONS = 3


@pytest.fixture
def rotating(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Any:
    """A deployment whose signing keys live for three seconds, and are known for one before they sign."""
    brief = {"KEY_LIFETIME": "3", "KEY_OVERLAP": "1", "HOUSEKEEPING_INTERVAL": "0.5"}
    with set_up(tmp_path_factory.mktemp("keys"), containers=containers, extra=brief) as ready:
        yield ready


def published(stage: Stage) -> set[str]:
    """The keys that the gateway says verify tokens."""
    with stage.deployment.rest(stage.token) as client:
        found = client.get("/.well-known/jwks.json").raise_for_status().json()
    return {key["kid"] for key in found["keys"]}


def fresh(stage: Stage) -> tuple[str, str]:
    """A new token that has been used, and the key that signed it."""
    with stage.deployment.rest(stage.token) as client:
        token = client.post("/tokens", json={"name": "rotation", "lifetime": 600}).raise_for_status().json()["token"]
    with stage.deployment.rest(token) as client:
        client.get("/tokens").raise_for_status()
    return token, jwt.get_unverified_header(token)["kid"]


async def test_no_call_fails_while_keys_rotate(rotating: Stage) -> None:
    signed_by: list[str] = []
    tokens: list[str] = []

    def rotated() -> bool:
        """Mint and use a token at once: its key must verify it at that edge from the first moment."""
        token, kid = fresh(rotating)
        assert kid in published(rotating)
        if kid not in signed_by:
            signed_by.append(kid)
            tokens.append(token)
        return len(signed_by) > ROTATIONS

    async with steady_calls(rotating.mcp, rotating.token, "notes-search_notes", {"query": "x"}, 4) as tally:
        await asyncio.to_thread(wait_for, rotated, "the rotation of the keys", 60)  # the calls go on meanwhile
    assert tally.failed == {}
    assert tally.answers["ok"] > 50
    assert set(signed_by) <= published(rotating)  # keys overlap: those of tokens that live stay known
    for token in tokens:
        with rotating.deployment.rest(token) as client:
            client.get("/tokens").raise_for_status()
