"""The clients: real ones, each a program of its own that looks at a server and says what it saw."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import node
from harness.errors import Unusable

from interlock_common.lifeline import die_with_parent
from matrix.features import FEATURES

HERE = Path(__file__).parents[1]
BUILD = HERE.parents[1] / "build" / "clients"
PROGRAMS = HERE / "programs"
FASTMCP = "fastmcp==4.1.2"
_SECONDS = 120.0
_LAST_CHARACTERS = 400


@dataclass(frozen=True, eq=False)
class Program:
    """A client in one of its modes; ``lacks`` names what it has no way to show."""

    name: str
    mode: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    lacks: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return f"{self.name}, {self.mode}"


@dataclass(frozen=True)
class Sight:
    """What a program saw; ``wrong`` says by feature what was not as it should be."""

    facts: Mapping[str, Any]
    wrong: Mapping[str, str]


def installed() -> list[Program]:
    """All programs, with what they need installed; raises Unusable."""
    node.install(HERE, BUILD)
    target = BUILD / "programs"  # a module finds its packages from where it lies
    target.mkdir(exist_ok=True)
    for script in PROGRAMS.glob("*.mjs"):
        shutil.copyfile(script, target / script.name)
    return [*_python(), *_fastmcp(), *_typescript(target), *_inspector()]


def _python() -> list[Program]:
    command = (sys.executable, str(PROGRAMS / "python_sdk.py"))
    return [Program("Python SDK 2.3", mode, command) for mode in ("auto", "legacy", "modern")]


def _fastmcp() -> list[Program]:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise Unusable("FastMCP runs in an environment that uv makes, and there is no uv: use make clients")
    environment = ("run", "--isolated", "--no-project", "--python", "3.13", "--with", FASTMCP)
    command = (uv, *environment, "python", str(PROGRAMS / "fastmcp_client.py"))
    without = {"PYTHONPATH": "", "VIRTUAL_ENV": ""}
    return [
        Program("FastMCP 4.1", "auto", command, without, frozenset({"list_changed"})),
        Program("FastMCP 4.1", "legacy", command, without),
    ]


def _typescript(target: Path) -> list[Program]:
    run = str(node.node(BUILD))
    client = (run, str(target / "typescript_client.mjs"))
    return [
        Program("TypeScript SDK 1.32", "legacy", (run, str(target / "typescript_sdk.mjs"))),
        *(Program("TypeScript client 2.4", mode, client) for mode in ("auto", "legacy", "modern")),
    ]


def _inspector() -> list[Program]:
    launcher = BUILD / "node_modules" / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build"
    environment = {"NODE": str(node.node(BUILD)), "INSPECTOR": str(launcher / "index.js")}
    shown = {"tools", "resources", "prompts", "call", "structured", "read", "prompt"}
    lacks = frozenset(FEATURES) - shown
    command = (sys.executable, str(PROGRAMS / "inspector.py"))
    return [Program("Inspector CLI 2.12", mode, command, environment, lacks) for mode in ("auto", "legacy")]


async def see(program: Program, url: str, token: str, prefix: str = "") -> Sight:
    """Run a program against the server at ``url``, and compare what it saw with what there is to see."""
    process = await asyncio.create_subprocess_exec(
        *(*program.command, program.mode, url, prefix),
        env={**os.environ, **program.environment, "MCP_TOKEN": token},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,  # one system call through a function that is bound already
    )
    try:
        async with asyncio.timeout(_SECONDS):
            said, complained = await process.communicate()
    except TimeoutError:
        return Sight({}, dict.fromkeys(FEATURES, f"the program did not end within {_SECONDS:g} s"))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or not said:
        why = complained.decode(errors="replace").strip()[-_LAST_CHARACTERS:]
        return Sight({}, {"revision": f"the program ended with {process.returncode}: {why}"})
    return _compared(program, json.loads(said.splitlines()[-1]), prefix)


def _compared(program: Program, seen: dict[str, Any], prefix: str) -> Sight:
    facts = seen["facts"]
    wrong = {name: why for name, why in seen["problems"].items() if name not in program.lacks}
    for name, fits in FEATURES.items():
        if name in program.lacks or name in wrong:
            continue
        if name not in facts or not fits(facts[name], prefix):
            wrong[name] = f"saw {facts.get(name)!r}"
    return Sight(facts, wrong)
