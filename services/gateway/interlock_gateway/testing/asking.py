"""Requests of clients over ASGI, without a network."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock_gateway.endpoints.mcp import McpEndpoint
from interlock_gateway.revisions import META_CAPABILITIES, META_VERSION, MODERN


@dataclass
class Answer:
    """What came back over ASGI; nothing more is taken while ``reading`` is not set."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    complete: bool = False
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.reading.set()

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    async def take(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.complete = not message["more_body"]


def modern_call(
    method: str = "tools/call", name: str | None = "notes-echo", **params: Any
) -> tuple[dict[str, str], bytes]:
    """Headers and body of a good stateless request."""
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if name is not None:
        headers["mcp-name"] = name
        params = {"name": name} | params
    params["_meta"] = {META_VERSION: MODERN, META_CAPABILITIES: {}} | params.get("_meta", {})
    return headers, msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})


async def ask(
    endpoint: McpEndpoint,
    body: bytes | Sequence[bytes] = b"",
    headers: dict[str, str] | Sequence[tuple[bytes, bytes]] = (),
    *,
    token: str | None = None,
    method: str = "POST",
    server_id: str | None = None,
    answer: Answer | None = None,
) -> Answer:
    """One HTTP exchange with the endpoint; the client stays connected until it is answered."""
    path = f"/servers/{server_id}/mcp" if server_id else "/mcp"
    return await send(
        lambda scope, receive, take: endpoint(scope, receive, take, server_id),
        path, body, headers, token=token, method=method, answer=answer,
    )  # fmt: skip


async def send(
    app: Callable[[dict[str, Any], Any, Any], Awaitable[None]],
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: dict[str, str] | Sequence[tuple[bytes, bytes]] = (),
    *,
    token: str | None = None,
    method: str = "POST",
    answer: Answer | None = None,
) -> Answer:
    """One HTTP exchange with an ASGI application."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    answer = answer or Answer()
    waiting: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": n < len(chunks)} for n, chunk in enumerate(chunks, 1)
    ]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    pairs = list(
        [(k.encode(), v.encode("latin-1")) for k, v in headers.items()] if isinstance(headers, dict) else headers
    )
    if token is not None:
        pairs.append((b"authorization", f"Bearer {token}".encode()))
    scope = {"type": "http", "method": method, "path": path, "headers": pairs, "client": ("192.0.2.1", 5)}
    await app(scope, receive, answer.take)
    return answer
