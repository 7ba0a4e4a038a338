"""A worker: an upstream that answers on the bus itself, without HTTP and without a process of the gateway.

    eval "$(interlock nats worker)"     # its certificate, and where the bus is
    python examples/worker.py           # then: interlock gateways add sums worker://sums

It speaks the stateless era: each request stands for itself and gets one answer, so any number of workers may share
the work, and none of them keeps anything.
"""

import asyncio
import json
import os
import ssl
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg

NAME = "sums"
TOOL = {
    "name": "add",
    "description": "Add two numbers",
    "inputSchema": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
}
OFFER: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of a request; KeyError for a method or a tool that is not there."""
    about = {"serverInfo": {"name": NAME, "version": "1"}, "resultType": "complete"}
    if method == "tools/call" and params["name"] == "add":
        total = params["arguments"]["a"] + params["arguments"]["b"]
        return {"resultType": "complete", "content": [{"type": "text", "text": str(total)}]}
    return {"server/discover": OFFER | about, "tools/list": {"tools": [TOOL], "resultType": "complete"}}[method]


async def take(message: Msg) -> None:
    """Answer one JSON-RPC request with one response."""
    request: dict[str, Any] = json.loads(message.data)
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
    try:
        reply["result"] = answer(request["method"], request.get("params", {}))
    except (KeyError, TypeError):
        reply["error"] = {"code": -32601, "message": "there is no such method or tool"}
    await message.respond(json.dumps(reply).encode())


async def main() -> None:
    """Serve until interrupted, with the identity in IDENTITY_DIR."""
    folder = Path(os.environ.get("IDENTITY_DIR", ".interlock/identity/worker"))
    tls = ssl.create_default_context(cafile=folder / "bundle.pem")
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    bus = await nats.connect(os.environ["BUS_URL"], tls=tls, inbox_prefix=b"_INBOX_worker")  # pyright: ignore[reportUnknownMemberType]
    await bus.subscribe(f"mcp.worker.{NAME}", queue=NAME, cb=take)  # pyright: ignore[reportUnknownMemberType]
    print(f"worker {NAME} is ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
