"""A local MCP server over streamable HTTP, as if it stood at the end of a pipe: for ``interlock connect --server``.

Each message is posted as it comes; what the server answers, as JSON or as events, comes out one message at a time. In
the handshake era the session is the server's, and what it says by itself is heard on its GET stream.
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self, cast

import aiohttp
import msgspec

from interlock_common.errors import Unavailable

_MODERN = "2026-07-28"
_VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_MAX_MESSAGE = 7 * 1024 * 1024
_WAITING = 256
_CONNECT_SECONDS = 10.0
_AGAIN_SECONDS = 2.0
_METHOD_NOT_ALLOWED = 405
_EVENT_END = re.compile(rb"(?:(?>\r\n|\n|\r)){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FAILED = -32603


class HttpBridge:
    """Talks to one server; ``receive`` is for one reader. A context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: aiohttp.ClientSession | None = None
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)
        self._posts: dict[object, asyncio.Task[None]] = {}
        self._session = ""
        self._version = ""

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        self._http = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def receive(self) -> bytes:
        """The next message of the server."""
        return await self._waiting.get()

    async def send(self, message: bytes) -> None:
        """Post a message; what fails about a request becomes its answer."""
        envelope: dict[str, Any] = msgspec.json.decode(message)
        method, request = envelope.get("method"), envelope.get("id")
        if method == "notifications/cancelled" and not self._version:
            self._cancel(envelope.get("params", {}).get("requestId"))
            return
        key: object = request if method is not None and request is not None else object()
        task = asyncio.create_task(self._answered(message, envelope), name=f"post {method}")
        self._posts[key] = task
        task.add_done_callback(lambda _: self._posts.pop(key, None))
        if method == "notifications/initialized":
            await asyncio.wait([task])
            listening = asyncio.create_task(self._listen(), name="GET stream")
            self._posts["GET"] = listening

    async def close(self) -> None:
        """End what runs, and the session at the server."""
        tasks = list(self._posts.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            if self._session:
                await self._end_session(self._http)
            await self._http.close()

    async def _end_session(self, http: aiohttp.ClientSession) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS), http.delete(self._url, headers=self._headers({})):
                pass
        except (aiohttp.ClientError, OSError, TimeoutError):
            return

    def _cancel(self, request: object) -> None:
        """In the stateless era a closed stream is the cancellation."""
        if (task := self._posts.get(request)) is not None:
            task.cancel()

    async def _answered(self, message: bytes, envelope: dict[str, Any]) -> None:
        try:
            await self._post(message, envelope)
        except (aiohttp.ClientError, OSError, Unavailable, ValueError) as error:
            if envelope.get("id") is not None and envelope.get("method") is not None:
                reason = f"the local server failed: {type(error).__name__}"
                failure = {"jsonrpc": "2.0", "id": envelope["id"], "error": {"code": _FAILED, "message": reason}}
                await self._waiting.put(msgspec.json.encode(failure))

    async def _post(self, message: bytes, envelope: dict[str, Any]) -> None:
        if self._http is None:
            raise Unavailable("the bridge is not open")
        headers = self._headers(envelope) | {"Content-Type": "application/json"}
        async with self._http.post(self._url, data=message, headers=headers, allow_redirects=False) as response:
            self._session = response.headers.get("Mcp-Session-Id", self._session)
            if response.content_type == "text/event-stream":
                async for data in _events(response):
                    await self._say(data, envelope)
            elif response.content_type == "application/json" and (body := await _body(response)):
                await self._say(body, envelope)
            elif envelope.get("id") is not None and "method" in envelope:
                raise Unavailable(f"the local server answered HTTP {response.status}")

    async def _say(self, data: bytes, envelope: dict[str, Any]) -> None:
        if envelope.get("method") == "initialize":
            answer: dict[str, Any] = msgspec.json.decode(data)
            self._version = str(answer.get("result", {}).get("protocolVersion", self._version))
        await self._waiting.put(data)

    async def _listen(self) -> None:
        """What the server says by itself (handshake era); one without a GET stream says nothing."""
        while self._http is not None:
            try:
                headers = self._headers({}) | {"Accept": "text/event-stream"}
                async with self._http.get(self._url, headers=headers, allow_redirects=False) as response:
                    if response.status == _METHOD_NOT_ALLOWED:
                        return
                    if response.content_type == "text/event-stream":
                        async for data in _events(response):
                            await self._waiting.put(data)
            except (aiohttp.ClientError, OSError, Unavailable):
                pass
            await asyncio.sleep(_AGAIN_SECONDS)

    def _headers(self, envelope: dict[str, Any]) -> dict[str, str]:
        headers = {"Accept": "application/json, text/event-stream", "Accept-Encoding": "identity"}
        params = cast("dict[str, Any]", envelope.get("params") or {})
        method = str(envelope.get("method", ""))
        version = params.get("_meta", {}).get(_VERSION) if isinstance(params.get("_meta"), dict) else None
        if version is not None:
            headers |= {"MCP-Protocol-Version": str(version), "Mcp-Method": method}
            if method in _NAMED:
                headers["Mcp-Name"] = _encoded(str(params.get(_NAMED[method], "")))
        elif self._version:
            headers["MCP-Protocol-Version"] = self._version
        if self._session and version is None:
            headers["Mcp-Session-Id"] = self._session
        return headers


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """The data of each server-sent event (HTML Living Standard, section 9.2.6); raises Unavailable over the bound."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        while (end := _EVENT_END.search(buffer)) is not None:
            block = bytes(buffer[: end.start()])
            del buffer[: end.end()]
            lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(block) if line.startswith(b"data:")]
            if data := b"\n".join(lines):
                yield data
        if len(buffer) > _MAX_MESSAGE:
            raise Unavailable(f"the local server sent an event over {_MAX_MESSAGE} bytes")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_MESSAGE:
            raise Unavailable(f"the local server answered more than {_MAX_MESSAGE} bytes")
    return bytes(body)


def _encoded(value: str) -> str:
    plain = value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?")
    return value if plain else f"=?base64?{base64.b64encode(value.encode()).decode()}?="
