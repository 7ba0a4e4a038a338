"""Asking processes on this machine how they are, over HTTP, with nothing that costs time to import."""

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any, cast

from interlock_cli.ports import HOST
from interlock_cli.trusting import trust

_TIMEOUT = 5.0
_INTERVAL = 0.03
type Answer = tuple[int, dict[str, Any]]


def ask(
    port: int,
    method: str,
    path: str,
    *,
    body: object = None,
    token: str | None = None,
    host: str = HOST,
    ca: Path | None = None,
) -> Answer:
    """Status and JSON object of an answer, with ``ca`` over TLS; raises OSError where nobody answers."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    connection = _connection(host, port, ca)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, _object(response.read())
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP from {host}:{port}: {type(error).__name__}") from None
    finally:
        connection.close()


def _connection(host: str, port: int, ca: Path | None) -> http.client.HTTPConnection:
    if ca is None:
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    # By the certificate, not by its name: one that was brought need not name this machine.
    context = trust(ca, nothing_else=True)
    context.check_hostname = False
    return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)


async def wait_until_well(port: int, path: str) -> None:
    """Return when ``GET path`` answers 200; ask for as long as it takes."""
    while True:
        try:
            status, _ = await asyncio.to_thread(ask, port, "GET", path)
        except OSError:
            status = 0
        if status == http.client.OK:
            return
        await asyncio.sleep(_INTERVAL)


async def wait_until_listening(port: int) -> None:
    """Return when ``port`` accepts connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(_INTERVAL)
            continue
        writer.close()
        return


def problems_of(port: int) -> list[str]:
    """Why the process behind a health port is not ready; empty when it is."""
    try:
        _, answer = ask(port, "GET", "/ready")
    except OSError:
        return ["does not answer"]
    problems = answer.get("problems")
    return [f"{name}: {why}" for name, why in problems.items()] if isinstance(problems, dict) else []  # pyright: ignore[reportUnknownVariableType]


def _object(body: bytes) -> dict[str, Any]:
    try:
        content: object = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
