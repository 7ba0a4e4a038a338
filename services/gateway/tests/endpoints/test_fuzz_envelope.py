"""Envelopes that nobody sends by accident, at every endpoint and in both eras: each gets an answer in JSON-RPC."""

import asyncio
import resource
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_common.messages.gateway import Session
from interlock_gateway.handshake import Initialize
from interlock_gateway.revisions import META_CAPABILITIES, META_VERSION, MODERN
from interlock_gateway.sessions.registry import OpenSession, Sessions
from interlock_gateway.testing.asking import ask, send
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.edges import Edge, initialize_body
from interlock_gateway.testing.servers import upstream_at

_EXAMPLES = 250
_SECONDS = 20.0
_MIB = 1024 * 1024
_STATUSES = {200, 202, 204, 400, 403, 404, 405, 406, 413, 502, 503}
_HAPPY = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "notes-echo"}
_META = msgspec.json.encode({META_VERSION: MODERN, META_CAPABILITIES: {}})

_DEEP = 100_000
HOSTILE_VALUES: dict[str, bytes] = {
    "an array 100,000 deep": b"[" * _DEEP + b"]" * _DEEP,
    "an array that never closes": b"[" * _DEEP,
    "an object 100,000 deep": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    "an integer of 100,000 digits": b"9" * _DEEP,
    "a negative integer of 100,000 digits": b"-" + b"9" * _DEEP,
    "a number beyond any float": b"1e99999",
    "a fraction of 100,000 digits": b"0." + b"3" * _DEEP,
    "a string of a mebibyte": b'"' + b"s" * _MIB + b'"',
    "a string of escapes": b'"' + b"\\u0041" * _DEEP + b'"',
    "half of a surrogate pair": b'"\\ud800"',
    "a NUL": b'"\\u0000"',
    "a raw control character": b'"\x01"',
    "bytes that are no UTF-8": b'"\xff\xfe\xc3\x28"',
    "an overlong encoding": b'"\xc0\xaf"',
    "an object of 50,000 equal keys": b"{" + b",".join([b'"k":1'] * 50_000) + b"}",
    "an object of 50,000 keys": b"{" + b",".join(b'"k%d":1' % n for n in range(50_000)) + b"}",
    "an array of 100,000 objects": b"[" + b",".join([b"{}"] * _DEEP) + b"]",
    "not a number": b"NaN", "infinity": b"-Infinity", "nothing": b"", "null": b"null", "true": b"true",
    "a fraction": b"1.5", "minus zero": b"-0", "an empty string": b'""', "an empty object": b"{}",
    "an empty array": b"[]",
}  # fmt: skip


def bodies(value: bytes) -> Iterator[bytes]:
    """A value in every place of a tool call that something is read from."""
    yield value
    yield b'{"jsonrpc":%s,"id":1,"method":"tools/call","params":{"name":"notes-echo","_meta":%s}}' % (value, _META)
    yield b'{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"notes-echo","_meta":%s}}' % (value, _META)
    yield b'{"jsonrpc":"2.0","id":1,"method":%s,"params":{"name":"notes-echo","_meta":%s}}' % (value, _META)
    yield b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}' % value
    for name in (b"name", b"arguments", b"inputResponses", b"requestState", b"x"):
        yield (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"notes-echo","_meta":%s,"%s":%s}}'
            % (_META, name, value)
        )
    for name in (META_VERSION, META_CAPABILITIES, "progressToken", "traceparent", "io.modelcontextprotocol/logLevel"):
        yield (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"notes-echo","_meta":{"%s":%s}}}'
            % (name.encode(), value)
        )
    yield b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%s,"capabilities":{}}}' % value
    opening = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":%s}}'
    )
    yield opening % value
    for method in (b"tools/list", b"resources/read", b"prompts/get", b"completion/complete", b"logging/setLevel"):
        yield (
            b'{"jsonrpc":"2.0","id":1,"method":"%s","params":{"cursor":%s,"uri":%s,"ref":%s,"level":%s,"_meta":%s}}'
            % (method, value, value, value, value, _META)
        )
    yield b'{"jsonrpc":"2.0","id":1,"result":%s}' % value
    yield b'{"jsonrpc":"2.0","id":1,"error":%s}' % value
    yield b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}' % value
    yield b'{"jsonrpc":"2.0","method":"notifications/progress","params":%s}' % value


def check(status: int, body: bytes) -> None:
    """What came is an answer in JSON-RPC, and no accident; an event stream has one in each event."""
    assert status in _STATUSES, (status, body[:300])
    messages = [body] if not body.startswith((b"id:", b"event:", b"data:", b":")) else [
        line[5:] for line in body.splitlines() if line.startswith(b"data:") and line[5:].strip()
    ]  # fmt: skip
    for raw in messages:
        if raw:
            check_message(msgspec.json.decode(raw))


def check_message(message: Any) -> None:
    assert message["jsonrpc"] == "2.0"
    if "method" not in message:
        assert ("result" in message) != ("error" in message)
    if "error" in message:
        assert isinstance(message["error"]["code"], int)
        assert "unexpected" not in message["error"]["message"], message


class MemorySessions:
    """Sessions without a bus."""

    def __init__(self) -> None:
        self.records: dict[str, Session] = {}

    async def open(self, caller: Any, asked: Initialize, server_id: str | None) -> OpenSession:
        self.records["k"] = Session(
            caller.principal, asked.version, 0, server_id, asked.capabilities, asked.client_info
        )
        return OpenSession("id", "k", self.records["k"])

    async def find(self, *_: object) -> OpenSession:
        return OpenSession("id", "k", self.records["k"])

    async def update(self, key: str, change: Callable[[Session], Session]) -> None:
        self.records[key] = change(self.records[key])

    async def end(self, session: OpenSession) -> None:
        self.records.pop(session.key, None)


@pytest.fixture
def fuzzed(world: EdgeWorld) -> EdgeWorld:
    """An edge with a tool whose upstream nobody answers for."""
    world.register(upstream_at("http://127.0.0.1:9/"))
    return world


@pytest.mark.parametrize("value", HOSTILE_VALUES)
async def test_a_hostile_value_at_any_place_is_answered_over_http(fuzzed: EdgeWorld, value: str) -> None:
    endpoint, rpc, token = fuzzed.endpoint(max_body=4 * _MIB), fuzzed.rpc(), fuzzed.signer.token()
    async with asyncio.timeout(_SECONDS):
        for body in bodies(HOSTILE_VALUES[value]):
            for headers in (_HAPPY, {}, {"mcp-session-id": "none"}):
                answer = await ask(endpoint, body, headers, token=token)
                check(answer.status, answer.body)
            answer = await send(rpc, "/rpc", body, token=token)
            check(answer.status, answer.body)


async def test_a_hostile_value_at_any_place_is_answered_in_a_session(edges: tuple[Edge, Edge]) -> None:
    edge = edges[0]
    edge.world.register(upstream_at("http://127.0.0.1:9/"))
    endpoint, token = edge.world.endpoint(max_body=4 * _MIB), edge.world.signer.token()
    headers = {"mcp-session-id": await edge.initialize(), "accept": "application/json, text/event-stream"}
    for value in HOSTILE_VALUES.values():
        async with asyncio.timeout(_SECONDS):
            for body in bodies(value):
                answer = await ask(endpoint, body, headers, token=token)
                check(answer.status, answer.body)
    assert (await edge.ask(session=headers["mcp-session-id"])).status == 200


@pytest.mark.parametrize("value", HOSTILE_VALUES)
async def test_a_hostile_value_at_any_place_is_answered_over_a_websocket(fuzzed: EdgeWorld, value: str) -> None:
    fuzzed.sessions = cast("Sessions", MemorySessions())
    async with asyncio.timeout(_SECONDS):
        for body in bodies(HOSTILE_VALUES[value]):
            await converse(fuzzed, [body])


async def converse(world: EdgeWorld, frames: list[bytes]) -> None:
    """Say all ``frames`` over a WebSocket; return when it is closed, or a request that follows is answered."""
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    over = asyncio.Event()
    waiting.put_nowait({"type": "websocket.connect"})
    for frame in [*frames, b'{"jsonrpc":"2.0","id":"the last","method":"nothing/there"}']:
        waiting.put_nowait({"type": "websocket.receive", "bytes": frame})

    async def take(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            assert message.get("code") not in {1006, 1011}
            over.set()
        elif message["type"] == "websocket.send":
            said = msgspec.json.decode(message["text"])
            check_message(said)
            if said.get("id") == "the last":
                over.set()

    async def leave() -> None:
        await over.wait()
        waiting.put_nowait({"type": "websocket.disconnect", "code": 1000})

    authorization = (b"authorization", f"Bearer {world.signer.token()}".encode())
    scope = {"type": "websocket", "path": "/ws", "headers": [authorization], "client": ("192.0.2.1", 5)}
    leaving = asyncio.create_task(leave())
    try:
        await world.ws()(scope, waiting.get, take, None)
    finally:
        leaving.cancel()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_METHODS = st.sampled_from([
    "initialize", "ping", "tools/list", "tools/call", "resources/list", "resources/read", "resources/templates/list",
    "resources/subscribe", "resources/unsubscribe", "prompts/list", "prompts/get", "completion/complete",
    "logging/setLevel", "server/discover", "notifications/initialized", "notifications/cancelled",
    "notifications/progress", "notifications/roots/list_changed", "tasks/get", "sampling/createMessage", "",
])  # fmt: skip
_PARAMS = st.dictionaries(
    st.sampled_from([
        "name", "arguments", "uri", "cursor", "ref", "argument", "level", "requestId", "progressToken", "_meta",
        "protocolVersion", "capabilities", "clientInfo", "inputResponses", "requestState", "notifications", "taskId",
    ]),
    st.sampled_from(["notes-echo", "", "2025-11-25", "debug", {"type": "ref/prompt", "name": "x"}, {}, []]) | _VALUES,
    max_size=5,
)  # fmt: skip
_MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")}, optional={
        "id": st.integers() | st.text(max_size=6) | _VALUES, "method": _METHODS | _VALUES, "params": _PARAMS | _VALUES,
        "result": _VALUES, "error": _VALUES,
    },
).map(msgspec.json.encode)  # fmt: skip
_NOISE = st.tuples(_MESSAGES, st.integers(0, 400), st.binary(max_size=3)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
)
_FRAMES = _MESSAGES | _NOISE | st.lists(_MESSAGES, max_size=3).map(lambda batch: b"[" + b",".join(batch) + b"]")


async def fuzz(examples: Callable[[Callable[[Coroutine[Any, Any, None]], None]], None]) -> None:
    """Run a hypothesis test beside this loop; what it is given runs a coroutine in the loop to its end."""
    loop = asyncio.get_running_loop()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, _SECONDS), loop).result()

    await asyncio.to_thread(examples, run)


_SETTINGS = settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


async def test_whatever_is_said_in_a_session_is_answered(edges: tuple[Edge, Edge]) -> None:
    edge = edges[0]
    edge.world.register(upstream_at("http://127.0.0.1:9/"))
    endpoint, token = edge.world.endpoint(), edge.world.signer.token()
    session = await edge.initialize(sampling={}, elicitation={}, roots={})

    async def say(body: bytes, version: str) -> None:
        headers = {"mcp-session-id": session, "accept": "application/json, text/event-stream"}
        answer = await ask(endpoint, body, headers | {"mcp-protocol-version": version}, token=token)
        check(answer.status, answer.body)

    def examples(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        @_SETTINGS
        @given(body=_FRAMES, version=st.sampled_from(["2025-11-25", "2025-03-26", MODERN, "x", ""]))
        def each(body: bytes, version: str) -> None:
            run(say(body, version))

        each()

    await fuzz(examples)
    assert (await edge.ask(session=session)).status == 200


async def test_whatever_is_said_over_a_websocket_is_answered(fuzzed: EdgeWorld) -> None:
    fuzzed.sessions = cast("Sessions", MemorySessions())

    def examples(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        @_SETTINGS
        @given(frames=st.lists(_FRAMES, max_size=4), greeting=st.booleans())
        def each(frames: list[bytes], *, greeting: bool) -> None:
            run(converse(fuzzed, [*([initialize_body()] if greeting else []), *frames]))

        each()

    await fuzz(examples)


async def test_whatever_is_said_to_rpc_is_answered(fuzzed: EdgeWorld) -> None:
    async def say(body: bytes) -> None:
        answer = await send(fuzzed.rpc(), "/rpc", body, token=fuzzed.signer.token())
        check(answer.status, answer.body)

    def examples(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        @_SETTINGS
        @given(body=_FRAMES)
        def each(body: bytes) -> None:
            run(say(body))

        each()

    await fuzz(examples)


@pytest.mark.parametrize(("name", "value"), [
    ("mcp-method", "tools/list"), ("mcp-method", ""), ("mcp-name", "other"), ("mcp-name", "=?base64?/w==?="),
    ("mcp-protocol-version", "2025-11-25"), ("mcp-protocol-version", "x"),
])  # fmt: skip
async def test_a_header_that_says_something_else_than_the_body_is_refused(
    fuzzed: EdgeWorld, name: str, value: str
) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"notes-echo","_meta":%s}}' % _META
    answer = await ask(fuzzed.endpoint(), body, _HAPPY | {name: value}, token=fuzzed.signer.token())
    assert answer.status == 400
    assert answer.json()["error"]["code"] in {-32020, -32022, -32600, -32602}


async def test_hostile_envelopes_take_no_memory(fuzzed: EdgeWorld) -> None:
    endpoint, token = fuzzed.endpoint(max_body=4 * _MIB), fuzzed.signer.token()

    async def rounds(count: int) -> None:
        for _ in range(count):
            for value in HOSTILE_VALUES.values():
                for body in (value, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}' % value):
                    await ask(endpoint, body, _HAPPY, token=token)
            fuzzed.audit.records.clear()

    await rounds(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await rounds(10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kilobytes
