import os
import sys
from pathlib import Path

import pytest

from interlock_cli import bytecode


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that keeps no bytecode, with packages that were installed without any."""
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(bytecode, "_is_compiled", lambda: False)


def test_bytecode_is_kept_in_the_state_folder_where_the_machine_keeps_none(tmp_path: Path) -> None:
    bytecode.keep_in(tmp_path)
    assert os.environ["PYTHONPYCACHEPREFIX"] == str(tmp_path)
    bytecode.write_again()
    assert not sys.dont_write_bytecode


def test_packages_with_bytecode_beside_them_are_left_at_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "_is_compiled", lambda: True)
    bytecode.keep_in(tmp_path)
    assert "PYTHONPYCACHEPREFIX" not in os.environ


def test_a_choice_of_the_caller_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/elsewhere")
    bytecode.keep_in(tmp_path)
    assert os.environ["PYTHONPYCACHEPREFIX"] == "/elsewhere"
