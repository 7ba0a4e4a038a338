"""Clients that others wrote see through the gateway all that there is, whatever era they and the upstream are of."""

import asyncio

import pytest
from matrix.meetings import meetings
from matrix.programs import Program, installed, see
from matrix.stage import Stage

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="session")
def programs() -> list[Program]:
    return installed()


@pytest.mark.parametrize("client", ["Python SDK", "FastMCP", "TypeScript SDK", "TypeScript client", "Inspector"])
async def test_a_client_sees_all_there_is(client: str, programs: list[Program], ready: Stage) -> None:
    found = [each for each in programs if each.name.startswith(client)]
    assert found
    for program, place in meetings(found):
        url, prefix = ready.at(place)
        sight = await see(program, url, ready.gateway.token, prefix)
        assert sight.wrong == {}, f"{program.title}, {place}"


async def test_without_a_token_a_client_is_told_so(programs: list[Program], ready: Stage) -> None:
    by_name = {each.name: each for each in programs}
    url, _ = ready.at("/mcp")
    sights = await asyncio.gather(*(see(each, url, "none") for each in by_name.values()))
    assert all("call" not in sight.facts and sight.wrong for sight in sights)
