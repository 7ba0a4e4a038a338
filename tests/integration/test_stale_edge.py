"""An edge that hears nothing refuses within its lease, is named late, and catches up before it accepts again."""

import asyncio
import json
import os
import signal
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from interlock_common.ports import choose_free
from interlock_common.testing.waiting import until
from stories.cut import Cut
from stories.deployment import Deployment
from stories.load import modern_call
from stories.upstreams import example

LEASE = 3.0


class TwoEdges(Deployment):
    """Each edge has a port of its own, and the second reaches the bus through a cable that can be cut."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.second, cable = choose_free(2)
        self.cut = Cut(cable, self.ports["bus"])

    def _environment(self, service: str, instance: str) -> dict[str, str]:
        environment = super()._environment(service, instance) | {"REVOCATION_LEASE": f"{LEASE:g}"}
        if instance == "gateway-2":
            environment |= {"PORT": str(self.second), "BUS_URL": f"tls://127.0.0.1:{self.cut.port}"}
        return environment


@pytest.fixture
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Generator[TwoEdges]:
    deployment = TwoEdges(tmp_path_factory.mktemp("stale"), containers=False, gateways=2)
    try:
        deployment.cut.start()
        deployment.start()
        yield deployment
    finally:
        deployment.stop()
        deployment.cut.stop()


async def called(http: httpx.AsyncClient, port: int, token: str) -> tuple[int, str]:
    """Status, and the code of a refusal, of one call at the edge with this port."""
    headers, body = modern_call("notes-search_notes", {"query": "x"}, 1)
    headers["Authorization"] = f"Bearer {token}"
    answer = await http.post(f"http://127.0.0.1:{port}/mcp", headers=headers, json=body)
    error: dict[str, Any] = answer.json().get("error", {})
    return answer.status_code, error.get("data", {}).get("code", "")


@pytest.mark.parametrize("how", ["cut", "stopped"])
async def test_an_edge_that_hears_nothing_refuses_and_catches_up_before_it_accepts(
    deployment: TwoEdges, how: str
) -> None:
    first, second = deployment.ports["public"], deployment.second
    with example("notes_server.py", dict(os.environ)) as notes:
        admin = deployment.administrator_token()
        deployment.register(admin, "notes", notes.url)
        async with httpx.AsyncClient(timeout=20) as http:
            as_admin = {"Authorization": f"Bearer {admin}"}
            rest = f"http://127.0.0.1:{first}"
            made = await http.post(f"{rest}/tokens", headers=as_admin, json={"name": "story", "lifetime": 600})
            issued = made.raise_for_status().json()
            token = issued["token"]
            for port in (first, second):
                await until_called(http, port, token, (200, ""))

            lost_at = asyncio.get_running_loop().time()
            edge = deployment.processes["gateway-2"].pid
            if how == "cut":
                deployment.cut.cut()
            else:
                os.kill(edge, signal.SIGSTOP)
            revoked = await http.delete(f"{rest}/tokens/{issued['id']}", headers=as_admin)
            receipt = revoked.raise_for_status().json()
            assert (receipt["applied"], receipt["of"], len(receipt["late"])) == (1, 2, 1)
            assert receipt["late"][0].startswith("gateway-")
            assert await called(http, first, token) == (401, "token_revoked")

            if how == "cut":
                await until_called(http, second, admin, (503, "revocation_stale"))
                assert asyncio.get_running_loop().time() - lost_at < LEASE + 2
                assert await called(http, second, admin) == (503, "revocation_stale")
                deployment.cut.mend()
            else:
                await until(lambda: asyncio.get_running_loop().time() > lost_at + LEASE + 1.5, LEASE + 5)
                os.kill(edge, signal.SIGCONT)
            seen: list[tuple[int, str]] = []
            async with asyncio.timeout(30):
                while (401, "token_revoked") not in seen:
                    seen.append(await called(http, second, token))
            assert {status for status, _ in seen} <= {401, 503}, "never accepted again"
            await until_called(http, second, admin, (200, ""))


@pytest.fixture
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deployment]:
    """One edge that goes on with calls, and with reading the record, when it does not know who is revoked."""
    extra = {"REVOCATION_LEASE": f"{LEASE:g}", "BEST_EFFORT_METHODS": "tools/call,/audit/records"}
    deployment = Deployment(tmp_path_factory.mktemp("lenient"), containers=False, extra=extra)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


async def test_without_auth_strict_routes_refuse_and_best_effort_routes_go_on_with_a_mark(lenient: Deployment) -> None:
    port = lenient.ports["public"]
    with example("notes_server.py", dict(os.environ)) as notes:
        admin = lenient.administrator_token()
        lenient.register(admin, "notes", notes.url)
        async with httpx.AsyncClient(timeout=20) as http:
            await until_called(http, port, admin, (200, ""))
            lenient.kill("auth")
            async with asyncio.timeout(LEASE + 10):
                while (refused := await listed(http, port, admin)) == (200, ""):  # noqa: ASYNC110 - until it is stale
                    await asyncio.sleep(0.1)
            assert refused == (503, "revocation_stale")
            with lenient.rest(admin) as rest:
                strict = rest.get("/gateways")
            assert (strict.status_code, "revocation_stale" in strict.text) == (503, True), strict.text
            assert await called(http, port, admin) == (200, "")
            await until(lambda: marks(lenient, admin)[0], 15)
            assert not marks(lenient, admin)[-1], "what came before is not marked"

            lenient.start_process("auth", "auth")
            async with asyncio.timeout(60):
                while await listed(http, port, admin) != (200, ""):  # noqa: ASYNC110 - it is asked again and again
                    await asyncio.sleep(0.1)
            assert await called(http, port, admin) == (200, "")
            await until(lambda: not marks(lenient, admin)[0], 15)


def marks(deployment: Deployment, token: str) -> list[bool]:
    """Whether the intents of calls say that revocations were stale, the newest first."""
    with deployment.rest(token) as rest:
        page = rest.get("/audit/records", params={"kind": "call.intent", "limit": 50}).raise_for_status().json()
    return [json.loads(record["leaf"]).get("revocations_stale", False) for record in page["records"]]


async def listed(http: httpx.AsyncClient, port: int, token: str) -> tuple[int, str]:
    """Status, and the code of a refusal, of asking which tools there are."""
    headers, body = modern_call("", {}, 1)
    del headers["Mcp-Name"]
    headers["Mcp-Method"] = body["method"] = "tools/list"
    body["params"] = {"_meta": body["params"]["_meta"]}
    headers["Authorization"] = f"Bearer {token}"
    answer = await http.post(f"http://127.0.0.1:{port}/mcp", headers=headers, json=body)
    error: dict[str, Any] = answer.json().get("error", {})
    return answer.status_code, error.get("data", {}).get("code", "")


async def until_called(http: httpx.AsyncClient, port: int, token: str, wanted: tuple[int, str]) -> None:
    async with asyncio.timeout(30):
        while await called(http, port, token) != wanted:  # noqa: ASYNC110 - it is asked again and again
            await asyncio.sleep(0.05)
