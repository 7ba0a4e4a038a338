"""Certificates that live for seconds, under load."""

import asyncio
import json
from collections import Counter
from collections.abc import Generator

import pytest

from stories.deployment import wait_for
from stories.load import steady_calls
from stories.stage import Stage, set_up

RENEWING = {"auth", "gateway", "catalog", "plugins", "audit"}


@pytest.fixture
def short_lived(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    """A deployment whose leaves live for nine seconds, and so are renewed every six."""
    with set_up(tmp_path_factory.mktemp("rotation"), containers=containers, extra={"LEAF_LIFETIME": "9"}) as ready:
        yield ready


def renewals(stage: Stage) -> Counter[str]:
    with stage.deployment.rest(stage.token) as client:
        page = client.get("/audit/records", params={"kind": "action", "limit": 200}).raise_for_status().json()
    actions = [json.loads(record["leaf"]) for record in page["records"]]
    return Counter(action["target"] for action in actions if action["action"] == "leaf.renewed")


async def test_rotation_loses_no_call(short_lived: Stage) -> None:
    before = renewals(short_lived)

    def renewed_twice() -> bool:
        since = renewals(short_lived) - before
        return all(since[name] >= 2 for name in RENEWING)

    async with steady_calls(short_lived.mcp, short_lived.token, "notes-search_notes", {"query": "x"}, 4) as tally:
        await asyncio.to_thread(wait_for, renewed_twice, "a second renewal of every service", 60)  # the calls go on
    assert tally.failed == {}
    assert tally.answers["ok"] > 100
