"""Secrets for the command line: out of files, the environment or the terminal, never out of the arguments.

Arguments of a process can be read by others on the machine, and stay in the history of the shell.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import typer

from interlock_cli.errors import StateUnusable

_PARTS = ("credential", "environment")


def secrets_of(options: Iterable[str]) -> dict[str, dict[str, str]]:
    """The ``secrets`` of a registration: each option is ``credential.value=@FILE``, ``…=env:NAME``, or a bare key."""
    found: dict[str, dict[str, str]] = {part: {} for part in _PARTS}
    for option in options:
        key, given, source = option.partition("=")
        part, _, name = key.partition(".")
        if part not in found or not name:
            raise StateUnusable(f"a secret is named credential.<name> or environment.<NAME>, not {key}")
        found[part][name] = _value(key, source if given else None)
    return found


def _value(key: str, source: str | None) -> str:
    if source is None:
        return typer.prompt(key, hide_input=True, err=True)
    if source.startswith("@"):
        try:
            return Path(source[1:]).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise StateUnusable(f"{source[1:]} cannot be read: {error}") from None
    if source.startswith("env:"):
        value = os.environ.get(source[4:])
        if value is None:
            raise StateUnusable(f"the environment has no {source[4:]}")
        return value
    raise StateUnusable(
        f"{key} is not given on the command line, where others can read it: {key}=@FILE, {key}=env:NAME, or {key} alone"
    )


def pairs_of(options: Iterable[str], what: str) -> dict[str, str]:
    """Options of the form ``key=value``."""
    pairs: dict[str, str] = {}
    for option in options:
        key, given, value = option.partition("=")
        if not given or not key:
            raise StateUnusable(f"{what} is given as key=value, not {option}")
        pairs[key] = value
    return pairs
