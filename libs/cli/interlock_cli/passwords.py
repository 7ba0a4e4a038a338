"""Passwords and invitations: from the terminal, a file or standard input, never out of the arguments."""

import sys
from pathlib import Path

import typer

from interlock_cli.errors import StateUnusable

_STANDARD_INPUT = Path("-")
_LONGEST = 4096


def secret(what: str, file: Path | None, *, confirm: bool = False) -> str:
    """The secret in ``file``, where ``-`` is standard input; without one it is asked for, unseen."""
    if file is None:
        return typer.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    try:
        found = sys.stdin.read(_LONGEST + 1) if file == _STANDARD_INPUT else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StateUnusable(f"{file} cannot be read: {error}") from None
    found = found.rstrip("\r\n")
    if not found or len(found) > _LONGEST:
        raise StateUnusable(f"{file} holds no {what.lower()}")
    return found
