"""What an upstream is: which era of the protocol it speaks, and which tools it has.

The stateless revision is tried first (``server/discover``); a server that does not know it gets the handshake
(``initialize``). Statuses 401, 403 and 5xx say nothing about the era, so they end the discovery. Definitions
are kept as the bytes that came over the wire, since their digest is what later versions are compared with.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import msgspec
from yarl import URL

from interlock_common import telemetry
from interlock_common.messages.catalog import Definition, Era
from interlock_gateway.revisions import LEGACY, META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN
from interlock_gateway.upstreams.addresses import check_literal
from interlock_gateway.upstreams.exchange import Answer, RpcMessage, UpstreamUnusable, end_session, origin, post

MODERN_ERRORS = frozenset({-32020, -32021, -32022})
"""Header mismatch, missing client capability, unsupported version: only the stateless revision has them."""

MAX_PAGES = 100
MAX_TOOLS = 10_000
MAX_TOOLS_BYTES = 900_000
"""All tools of one upstream together: an upstream is one message on the bus, and those end at 1 MiB."""

MAX_DEPTH = 64
"""How deep a definition may nest: decoders recurse, and the edges decode it among other things."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_CLIENT = {"name": "interlock", "version": "0.1.0"}
_META = {META_VERSION: MODERN, META_CLIENT: _CLIENT, META_CAPABILITIES: {}}


@dataclass(frozen=True)
class Discovered:
    """An upstream as it presented itself; tools in the order it listed them."""

    era: Era
    protocol_version: str
    tools: tuple[Definition, ...]


class _Capabilities(msgspec.Struct, frozen=True):
    tools: dict[str, msgspec.Raw] | None = None


class _DiscoverResult(msgspec.Struct, frozen=True, rename="camel"):
    supported_versions: tuple[str, ...]
    capabilities: _Capabilities = _Capabilities()


class _InitializeResult(msgspec.Struct, frozen=True, rename="camel"):
    protocol_version: str
    capabilities: _Capabilities = _Capabilities()


class _ToolsPage(msgspec.Struct, frozen=True, rename="camel"):
    tools: tuple[msgspec.Raw, ...]
    next_cursor: str | None = None


class _ToolHead(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    input_schema: dict[str, msgspec.Raw]


class _Versions(msgspec.Struct, frozen=True):
    supported: tuple[str, ...]


@dataclass
class _Conversation:
    """The requests of one discovery, in the era found so far."""

    session: aiohttp.ClientSession
    url: URL
    era: Era = "modern"
    version: str = MODERN
    session_id: str | None = None
    _last_id: int = field(default=0)

    async def ask(self, method: str, params: Mapping[str, object]) -> Answer:
        self._last_id += 1
        if self.era == "modern":
            params = {**params, "_meta": telemetry.inject({}) | _META}
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        return await post(self.session, self.url, self._headers(method), msgspec.json.encode(message), self._last_id)

    async def notify(self, method: str) -> Answer:
        body = msgspec.json.encode({"jsonrpc": "2.0", "method": method})
        return await post(self.session, self.url, self._headers(method), body, None)

    async def close(self) -> None:
        if self.session_id is not None:
            await end_session(self.session, self.url, self._headers(""))

    def _headers(self, method: str) -> dict[str, str]:
        headers = telemetry.inject({
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        })  # fmt: skip
        if method != "initialize":
            headers["MCP-Protocol-Version"] = self.version
        if self.era == "modern":
            headers["Mcp-Method"] = method
        if self.session_id is not None:
            headers["Mcp-Session-Id"] = self.session_id
        return headers


async def discover(
    session: aiohttp.ClientSession, url: str, *, timeout: float, allow_private: bool, era: Era | None = None
) -> Discovered:
    """Find the era (or take the one given) and list the tools, all within ``timeout`` seconds.

    Raises UpstreamUnusable or AddressForbidden, both UpstreamFailed, which say what failed.
    """
    address = URL(url)
    check_literal(address, allow_private=allow_private)
    talk = _Conversation(session, address)
    try:
        async with asyncio.timeout(timeout):
            has_tools = await _open(talk, era)
            tools = await _list_tools(talk) if has_tools else ()
            await talk.close()
    except TimeoutError:
        raise UpstreamUnusable(f"{origin(address)} did not tell its tools within {timeout:g} s", "timeout") from None
    return Discovered(talk.era, talk.version, tools)


async def _open(talk: _Conversation, era: Era | None) -> bool:
    """Settle the era; answers whether the upstream has tools at all."""
    if era != "legacy":
        answer = await talk.ask("server/discover", {})
        _refuse_silent_statuses(answer, talk.url)
        verdict = _modern_verdict(answer, talk.url)
        if verdict is not None:
            return verdict
        if era == "modern":
            raise UpstreamUnusable(f"{origin(talk.url)} does not speak {MODERN}: {_described(answer)}", "protocol")
    return await _shake_hands(talk)


def _modern_verdict(answer: Answer, url: URL) -> bool | None:
    """Whether a modern upstream has tools; None when the answer is no evidence of a modern one."""
    message = answer.message
    if message is None:
        return None
    if message.error is not None:
        if message.error.code not in MODERN_ERRORS:
            return None
        supported = _supported(message)
        if MODERN in supported or not supported:
            return True
        if any(version in LEGACY for version in supported):
            return None
        raise UpstreamUnusable(
            f"{origin(url)} speaks only {', '.join(supported)[:200]}, which this gateway does not", "protocol"
        )
    result = _result(message, _DiscoverResult)
    if result is None or MODERN not in result.supported_versions:
        return None
    return result.capabilities.tools is not None


async def _shake_hands(talk: _Conversation) -> bool:
    talk.era, talk.version = "legacy", LEGACY[0]
    params = {"protocolVersion": talk.version, "capabilities": {}, "clientInfo": _CLIENT}
    answer = await talk.ask("initialize", params)
    _refuse_silent_statuses(answer, talk.url)
    result = None if answer.message is None else _result(answer.message, _InitializeResult)
    if result is None:
        cause = "not_mcp" if answer.message is None else "protocol"
        raise UpstreamUnusable(
            f"{origin(talk.url)} does not answer as an MCP server: {_described(answer)}",
            cause,
            status=answer.status,
        )
    if result.protocol_version not in LEGACY:
        raise UpstreamUnusable(
            f"{origin(talk.url)} wants revision {result.protocol_version[:32]!r}, which this gateway does not speak",
            "protocol",
        )
    talk.version, talk.session_id = result.protocol_version, answer.session_id
    await talk.notify("notifications/initialized")
    return result.capabilities.tools is not None


async def _list_tools(talk: _Conversation) -> tuple[Definition, ...]:
    tools: dict[str, Definition] = {}
    cursors: set[str] = set()
    params: dict[str, object] = {}
    size = 0
    for _ in range(MAX_PAGES):
        page = await _tools_page(talk, params)
        for definition in page.tools:
            tool = read_tool(bytes(definition), talk.url)
            if tool.name in tools:
                raise UpstreamUnusable(f"{origin(talk.url)} lists the tool {tool.name} twice", "protocol")
            tools[tool.name] = tool
            size += len(msgspec.json.encode(tool)) + 1
        if len(tools) > MAX_TOOLS or size > MAX_TOOLS_BYTES:
            raise UpstreamUnusable(f"{origin(talk.url)} has more than {MAX_TOOLS} tools or {MAX_TOOLS_BYTES} "
                                   "bytes of them", "too_large")  # fmt: skip
        if page.next_cursor is None:
            return tuple(tools.values())
        if page.next_cursor in cursors:
            raise UpstreamUnusable(f"{origin(talk.url)} pages its tools in a circle", "protocol")
        cursors.add(page.next_cursor)
        params = {"cursor": page.next_cursor}
    raise UpstreamUnusable(f"{origin(talk.url)} has more than {MAX_PAGES} pages of tools", "too_large")


async def _tools_page(talk: _Conversation, params: Mapping[str, object]) -> _ToolsPage:
    answer = await talk.ask("tools/list", params)
    _refuse_silent_statuses(answer, talk.url)
    page = None if answer.message is None else _result(answer.message, _ToolsPage)
    if page is None:
        raise UpstreamUnusable(
            f"{origin(talk.url)} does not list its tools: {_described(answer)}", "protocol", status=answer.status
        )
    return page


def read_tool(definition: bytes, url: URL) -> Definition:
    """A tool with its digest; raises UpstreamUnusable for a definition that no client could use."""
    try:
        definition.decode()  # decoders pass over the text of members that nobody asked for
        if _depth(definition) > MAX_DEPTH:
            raise UpstreamUnusable(f"{origin(url)} nests a definition over {MAX_DEPTH} levels deep", "protocol")
        head = msgspec.json.decode(definition, type=_ToolHead)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamUnusable(f"{origin(url)} lists a tool that is no tool: {error}", "protocol") from None
    if _TOOL_NAME.fullmatch(head.name) is None:
        raise UpstreamUnusable(
            f"{origin(url)} names a tool {head.name[:128]!r}: names are 1 to 128 of A-Z a-z 0-9 _ . -",
            "protocol",
        )
    digest = f"sha256:{hashlib.sha256(definition).hexdigest()}"
    return Definition(name=head.name, definition=msgspec.Raw(definition), digest=digest)


def _depth(document: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", document)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_silent_statuses(answer: Answer, url: URL) -> None:
    if answer.status in {401, 403}:
        raise UpstreamUnusable(
            f"{origin(url)} wants a credential: HTTP {answer.status}", "status", status=answer.status
        )
    if answer.status >= 500:  # noqa: PLR2004 - the class of server errors
        raise UpstreamUnusable(f"{origin(url)} fails: HTTP {answer.status}", "status", status=answer.status)


def _described(answer: Answer) -> str:
    message = answer.message
    if message is None:
        return f"HTTP {answer.status} without a JSON-RPC message"
    if message.error is not None:
        return f"error {message.error.code} {message.error.message[:200]!r}"
    return f"HTTP {answer.status} with a result that does not fit the protocol"


def _supported(message: RpcMessage) -> tuple[str, ...]:
    if message.error is None:
        return ()
    try:
        return msgspec.json.decode(message.error.data, type=_Versions).supported
    except (msgspec.DecodeError, RecursionError):
        return ()


def _result[T](message: RpcMessage, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(message.result, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None
