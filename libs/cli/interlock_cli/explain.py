"""``interlock explain``: which rule decides about a call, as the gateway says it."""

import os
import sys
from pathlib import Path

import httpx
import typer

from interlock_cli.client import Client, Endpoint
from interlock_cli.connection import print_json, print_table
from interlock_cli.errors import StateUnusable
from interlock_common.messages.explaining import Asked, Explanation

_MAX_TOKEN = 8192


def explain(
    endpoint: Endpoint, token: str, tool: str, server: str | None, address: str | None,
    certificate: Path | None = None, *, as_json: bool, transport: httpx.BaseTransport | None = None,
) -> None:  # fmt: skip
    """Print the decision; ends with 1 where the call would be refused."""
    shown = None if certificate is None else _text_of(certificate)
    asked = Asked(token_from(token), tool, server, address, shown)
    with Client(endpoint, transport) as client:
        found = client.send("POST", "/admin/explain", Explanation, asked)
    if as_json:
        print_json(found)
    else:
        print_table(
            ("", "rule", "why"), (("yes" if rule.passed else "no", rule.name, rule.reason) for rule in found.rules)
        )
        sys.stdout.write("\nit would go through\n" if found.allowed else f"\nrefused: {found.code}\n")
    if not found.allowed:
        raise typer.Exit(1)


def token_from(source: str) -> str:
    """The token that ``@FILE``, ``env:NAME`` or ``-`` leads to; one in the arguments others could read."""
    if source == "-":
        return sys.stdin.read(_MAX_TOKEN + 1).strip()
    if source.startswith("@"):
        return _text_of(Path(source[1:]))
    if source.startswith("env:"):
        value = os.environ.get(source[4:])
        if value is None:
            raise StateUnusable(f"the environment has no {source[4:]}")
        return value.strip()
    raise StateUnusable("a token is not given on the command line, where others can read it: @FILE, env:NAME or -")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StateUnusable(f"{path} cannot be read: {error}") from None
