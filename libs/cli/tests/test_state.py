import os
import stat
from pathlib import Path

import pytest

from interlock_cli.errors import AlreadyRunning, StateUnusable
from interlock_cli.state import State, read_json, write_json


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_for_their_owner_only_and_secrets_too(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.prepare()
    assert mode(state.root) == 0o700
    assert {mode(path) for path in state.root.iterdir() if path.is_dir()} == {0o700}
    assert mode(state.admin_password) == 0o600
    assert mode(state.audit_digest_key) == 0o600


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.prepare()
    state.root.chmod(0o755)
    state.prepare()
    assert mode(state.root) == 0o700


def test_preparing_again_keeps_the_secrets(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.prepare()
    before = state.admin_password.read_text()
    state.prepare()
    assert state.admin_password.read_text() == before


def test_a_file_is_no_state_folder(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateUnusable, match="is a file"):
        State(tmp_path / "state").prepare()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(StateUnusable, match=r"holds something else \(thesis.txt\)"):
        State(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["missing/parent", "state"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StateUnusable, match="cannot be used"):
        State(tmp_path / name).prepare()


def test_a_state_folder_belongs_to_one_trust_domain(tmp_path: Path) -> None:
    State(tmp_path / "state", "one.example").prepare()
    with pytest.raises(StateUnusable, match=r"trust domain one\.example, not two\.example"):
        State(tmp_path / "state", "two.example").prepare()


def test_a_state_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.prepare()
    write_json(state.root / "interlock-state.json", {"format": 99, "trust_domain": "interlock.local"})
    with pytest.raises(StateUnusable, match="is of format 99"):
        state.prepare()


def test_one_stack_per_folder(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.prepare()
    assert not state.is_running()
    with state.locked():
        assert state.is_running()
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"), State(state.root).locked():
            pass
    assert not state.is_running()
    with state.locked():
        pass


def test_json_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[")
    with pytest.raises(StateUnusable, match=r"x\.json is not readable as JSON"):
        read_json(tmp_path / "x.json")
