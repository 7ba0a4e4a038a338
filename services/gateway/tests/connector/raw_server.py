# ruff: noqa: C901, PLR0912 - a flat list of what it can do
# pyright: basic
"""A server of the handshake era in plain Python, which starts at once and does what its tool calls say."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_waiting: dict[str, threading.Event] = {}
_answers: dict[str, object] = {}


def say(**message: object) -> None:
    with _lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(request: dict[str, Any], value: object) -> None:
    say(id=request["id"], result={"content": [{"type": "text", "text": json.dumps(value)}]})


def call(request: dict[str, Any]) -> None:
    params = request["params"]
    arguments = params.get("arguments", {})
    match params["name"]:
        case "echo":
            text(request, arguments)
        case "pid":
            text(request, os.getpid())
        case "environment":
            text(request, dict(os.environ) | {"cwd": str(Path.cwd())})
        case "progress":
            token = params["_meta"]["progressToken"]
            for step in range(3):
                say(method="notifications/progress", params={"progressToken": token, "progress": step})
            text(request, token)
        case "ask":
            _waiting["q1"] = threading.Event()
            say(id="q1", method="sampling/createMessage", params={"messages": [], "maxTokens": 5})
            _waiting["q1"].wait(10)
            text(request, _answers["q1"])
        case "change":
            say(method="notifications/tools/list_changed")
            say(method="notifications/resources/updated", params={"uri": "file:///a"})
            text(request, "changed")
        case "hang":
            sys.stderr.write("hanging with " + os.environ.get("API_KEY", "nothing") + "\n")
            sys.stderr.flush()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "garbage":
            sys.stdout.write("this is no JSON\n[1,2\n\n")
            text(request, "survived")
        case "long":
            sys.stdout.write("x" * arguments["size"] + "\n")
            sys.stdout.flush()
        case "hoard":
            kept = bytearray(arguments["size"])
            for at in range(0, len(kept), 4096):
                kept[at] = 1
            time.sleep(30)
        case "burn":
            end = time.process_time() + arguments["seconds"]
            while time.process_time() < end:
                pass
            text(request, "burnt")


def take(message: dict[str, Any]) -> None:
    match message.get("method"):
        case None:
            _answers[message["id"]] = message.get("result", message.get("error"))
            _waiting[message["id"]].set()
        case "initialize":
            say(
                id=message["id"],
                result={
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "raw", "version": "1"},
                    "instructions": json.dumps(message["params"]["capabilities"]),
                },
            )
        case "notifications/cancelled":
            sys.stderr.write(f"cancelled {message['params']['requestId']}\n")
            sys.stderr.flush()
            say(id=message["params"]["requestId"], result={"content": [], "late": True})
        case "notifications/roots/list_changed":
            sys.stderr.write(f"{os.getpid()} heard of other roots\n")
            sys.stderr.flush()
        case "tools/call":
            threading.Thread(target=call, args=(message,), daemon=True).start()
        case "resources/subscribe" | "resources/unsubscribe" | "ping":
            say(id=message["id"], result={})
        case method if "id" in message:
            say(id=message["id"], error={"code": -32601, "message": f"no method {method}"})


if "--fail" in sys.argv:
    sys.exit(3)
for line in sys.stdin:
    take(json.loads(line))
