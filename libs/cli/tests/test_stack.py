"""One whole gateway, started as a person would start it; the story reads from top to bottom."""

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import sysconfig
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from interlock_cli.probing import ask
from interlock_cli.state import State
from interlock_common.messages.access import SERVICES
from interlock_common.ports import choose_free

pytestmark = pytest.mark.stack
COMMAND = str(Path(sysconfig.get_path("scripts")) / "interlock")
_START_SECONDS, _STOP_SECONDS = 60, 40


@dataclass
class Stage:
    """The command on one state folder."""

    folder: Path
    port: int = field(default_factory=lambda: choose_free(1)[0])
    process: subprocess.Popen[str] | None = None
    told: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def state(self) -> State:
        return State(self.folder / "state")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_CONFIG_HOME": str(self.folder / "config")}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *words], capture_output=True, text=True, timeout=60, check=False, env=self.environment
        )

    def up(self) -> dict[str, Any]:
        """Start, unless it runs; the document that a script gets."""
        if self.process is not None and self.process.poll() is None:
            return self.told
        self.process = subprocess.Popen(
            [COMMAND, "up", "--state", self.state.root, "--port", str(self.port), "--json"],
            stdout=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline())
        return self.told

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(_STOP_SECONDS)
        self.process.stdout.close()
        return code

    def accepts(self, token: str) -> bool:
        return ask(self.port, "GET", "/tools", token=token)[0] == 200


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stack"))
    yield stage
    if stage.process is not None and stage.process.poll() is None:
        stage.end(signal.SIGTERM)


@pytest.fixture
def first(stage: Stage) -> dict[str, Any]:
    """What the start said; the stack runs, whatever the test before did to it."""
    return stage.up()


def test_the_document_says_how_to_call(stage: Stage, first: dict[str, Any]) -> None:
    assert first["url"] == f"http://127.0.0.1:{stage.port}"
    assert stage.process is not None
    assert first["pid"] == stage.process.pid
    assert stage.accepts(first["token"])


def test_every_process_is_ready(stage: Stage, first: dict[str, Any]) -> None:
    told = json.loads(stage.run("status", "--state", str(stage.state.root), "--json").stdout)
    assert told["ready"], told
    assert told["url"] == first["url"]
    assert set(told["processes"]) == {"bus", *SERVICES}


@pytest.mark.usefixtures("first")
def test_nobody_else_can_read_a_key_or_a_token(stage: Stage) -> None:
    root = stage.state.root
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    secret = [path for path in root.rglob("*") if path.name in {"key.pem", "token", "admin-password"}]
    assert len(secret) > len(SERVICES)
    assert [path for path in secret if stat.S_IMODE(path.stat().st_mode) != 0o600] == []


@pytest.mark.usefixtures("first")
def test_a_second_stack_in_the_folder_is_refused(stage: Stage) -> None:
    refused = stage.run("up", "--state", str(stage.state.root), "--port", str(choose_free(1)[0]))
    assert refused.returncode == 4
    assert "a stack runs in" in refused.stderr


@pytest.mark.usefixtures("first")
def test_a_taken_port_leaves_nothing_behind(stage: Stage) -> None:
    refused = stage.run("up", "--state", str(stage.folder / "other"), "--port", str(stage.port))
    assert refused.returncode == 3
    assert "--port" in refused.stderr
    assert not (stage.folder / "other").exists()


@pytest.mark.usefixtures("first")
async def test_the_context_leads_an_operator_to_every_service(stage: Stage) -> None:
    written = stage.run("nats", "context", "--state", str(stage.state.root))
    assert written.returncode == 0, written.stderr
    async with operator(stage.folder / "config" / "nats" / "context" / "interlock.json") as client:
        for verb in ("PING", "INFO", "STATS"):
            answers = await answering(client, verb)
            assert {answer["type"] for answer in answers.values()} == {f"io.nats.micro.v1.{verb.lower()}_response"}
        assert [stream.config.name for stream in await client.jetstream().streams_info()]  # pyright: ignore[reportUnknownMemberType] - untyped options
        with pytest.raises(TimeoutError):  # an operator looks and changes nothing
            await client.request("svc.certs.leaf.list", b"{}", timeout=0.3)


@asynccontextmanager
async def operator(file: Path) -> AsyncGenerator[Client]:
    """Connected with exactly what a context file names."""
    context = json.loads(file.read_text())  # noqa: ASYNC240 - a small file, in a test
    tls = ssl.create_default_context(cafile=context["ca"])
    tls.load_cert_chain(context["cert"], context["key"])
    client = Client()
    await client.connect(context["url"], tls=tls, inbox_prefix=context["inbox_prefix"].encode())  # pyright: ignore[reportUnknownMemberType] - untyped options
    try:
        yield client
    finally:
        await client.close()


async def answering(client: Client, verb: str) -> dict[str, Any]:
    """What each service answers to ``$SRV.<verb>``, asked until all have answered."""
    found: dict[str, Any] = {}
    everyone = asyncio.Event()

    async def answered(message: Any) -> None:
        answer = json.loads(message.data)
        found[answer["name"]] = answer
        if found.keys() >= set(SERVICES):
            everyone.set()

    inbox = client.new_inbox()
    await client.subscribe(inbox, cb=answered)  # pyright: ignore[reportUnknownMemberType] - an untyped future
    async with asyncio.timeout(10):
        while not everyone.is_set():
            await client.publish(f"$SRV.{verb}", b"", reply=inbox)
            with suppress(TimeoutError):
                await asyncio.wait_for(everyone.wait(), 1)
    assert set(found) == set(SERVICES)
    return found


def test_a_ctrl_c_stops_everything_in_time(stage: Stage, first: dict[str, Any]) -> None:
    pids = processes_below(first["pid"])
    assert len(pids) > len(SERVICES)
    assert stage.end(signal.SIGINT) == 0
    assert eventually(lambda: alive(pids) == []), alive(pids)  # the fork server ends just after
    assert stage.run("status", "--state", str(stage.state.root)).returncode == 5


def test_a_second_start_keeps_everything(stage: Stage, first: dict[str, Any]) -> None:
    stage.end(signal.SIGTERM)
    second = stage.up()
    assert second["url"] == first["url"]
    assert second["token"] == first["token"]
    assert stage.accepts(first["token"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_nothing_outlives_a_killed_supervisor(stage: Stage, first: dict[str, Any]) -> None:
    pids = processes_below(first["pid"])
    stage.end(signal.SIGKILL)
    assert eventually(lambda: alive(pids) == []), alive(pids)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", stage.port)) != 0


def processes_below(pid: int) -> list[int]:
    """All processes that descend from ``pid`` (proc(5))."""
    below: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            below += [child, *processes_below(child)]
    return below


def alive(pids: list[int]) -> list[int]:
    """Those that still run; one that has ended and waits for its parent does not."""

    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return [pid for pid in pids if runs(pid)]


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold within a few seconds."""

    async def wait() -> bool:
        try:
            async with asyncio.timeout(10):
                while not holds():  # noqa: ASYNC110 - processes send no event to those who are not their parents
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    return asyncio.run(wait())
