"""A very cheap MCP server over streamable HTTP, so that what is measured is the gateway.

Answers every POST as JSON. ``echo`` returns its text; nothing else is offered. Speaks 2026-07-28.
"""

import argparse
from typing import Any

import msgspec
import uvicorn

_TOOL = {
    "name": "echo",
    "description": "Return the text it was given.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
_DISCOVER: dict[str, Any] = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "ttlMs": 60_000,
    "cacheScope": "public",
}
_LIST = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public", "tools": [_TOOL]}
_NOT_FOUND = {"code": -32601, "message": "unknown method"}
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """The JSON-RPC answer to one request."""
    base = {"jsonrpc": "2.0", "id": message.get("id")}
    match message.get("method"):
        case "tools/call":
            text = message["params"]["arguments"].get("text", "")
            return base | {"result": {"resultType": "complete", "content": [{"type": "text", "text": text}]}}
        case "tools/list":
            return base | {
                "result": {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public", "tools": [_TOOL]}
            }
        case "server/discover":
            return base | {"result": _DISCOVER}
        case _:
            return base | {"error": _NOT_FOUND}


async def app(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    reply = _encode(answer(_decode(body)))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off", loop="uvloop",
                http="httptools", timeout_keep_alive=300)  # fmt: skip
