"""The official suite: installed from the lock beside it, and run one scenario at a time."""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness import node

HERE = Path(__file__).parents[1]
BUILD = HERE.parents[1] / "build" / "conformance"
_PACKAGE = Path("node_modules", "@modelcontextprotocol", "conformance")
_SCENARIO_SECONDS = 20.0
_BATCH_SCENARIO_SECONDS, _BATCH_SECONDS = 10.0, 240.0
_GRACE_SECONDS = 10.0
_TIME = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")
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

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if check.status == "FAILURE"]

    @property
    def warnings(self) -> list[Check]:
        return [check for check in self.checks if check.status == "WARNING"]

    @property
    def passed(self) -> bool:
        return not self.failures


type Found = dict[str, tuple[Check, ...]]


@dataclass(frozen=True)
class Suite:
    """An installed suite."""

    root: Path

    def required(self, revision: str) -> list[str]:
        """The scenarios that a revision requires of a server, in the suite's order."""
        return [str(name) for name in self._requirements(revision)["server"]]

    def unscored(self, revision: str) -> list[str]:
        """Those it runs without counting them, but for extensions: newer than the revision, or not settled."""
        listed = self._requirements(revision)["not_scored"]
        return [str(each["scenario"]) for each in listed if each["leg"] == "server" and each["reason"] != "extension"]

    def _requirements(self, revision: str) -> dict[str, Any]:
        path = self.root / _PACKAGE / "requirements" / f"{revision}.yaml"
        return yaml.safe_load(path.read_text(encoding="utf-8"))

    async def check_revision(self, revision: str, url: str, token: str) -> list[Outcome]:
        """Run all that a revision requires against the server at ``url``, in one go, as its authors mean it."""
        said, found = await self._run(
            ["server", "--url", url, "--requirements", revision],
            _bearer(url, token),
            _BATCH_SCENARIO_SECONDS,
            _BATCH_SECONDS,
        )
        return [_outcome(name, revision, found, said) for name in self.required(revision)]

    async def check_server(self, scenario: str, revision: str, url: str, token: str) -> Outcome:
        """Run one scenario against the server at ``url``; with a token every request carries it."""
        arguments = ["server", "--url", url, "--scenario", scenario, "--spec-version", revision]
        said, found = await self._run(arguments, _bearer(url, token), _SCENARIO_SECONDS)
        return _outcome(scenario, revision, found, said)

    async def check_client(self, scenario: str, revision: str, gateway: str, token: str) -> Outcome:
        """Run a scenario in which the suite is the upstream of the gateway at ``gateway``."""
        command = f"{sys.executable} {HERE / 'drive.py'}"
        arguments = ["client", "--command", command, "--scenario", scenario, "--spec-version", revision]
        environment = {"CONFORMANCE_GATEWAY": gateway, "CONFORMANCE_TOKEN": token}
        said, found = await self._run(arguments, environment, _SCENARIO_SECONDS)
        return _outcome(scenario, revision, found, said)

    async def _run(
        self, arguments: Sequence[str], environment: Mapping[str, str], each: float, whole: float = 0
    ) -> tuple[str, Found]:
        """What the suite said, and what it wrote, by scenario."""
        preload = ("--import", str(HERE / "bearer.mjs")) if "CONFORMANCE_TARGET" in environment else ()
        with tempfile.TemporaryDirectory(prefix="interlock-conformance-") as out:
            process = await asyncio.create_subprocess_exec(
                str(node.node(self.root)),
                *preload,
                str(self.root / _PACKAGE / "dist" / "index.js"),
                *arguments,
                *("-o", out, "--timeout", str(int(each * 1000))),
                env={**os.environ, **environment, "NO_COLOR": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said = await _output(process, (whole or each) + _GRACE_SECONDS)
            return said, _written(Path(out))


def install() -> Suite:
    """The suite of the lock, in ``build/conformance/``; raises Unusable when the registry does not give it."""
    node.install(HERE, BUILD)
    return Suite(BUILD)


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


def _bearer(url: str, token: str) -> dict[str, str]:
    return {"CONFORMANCE_TARGET": url, "CONFORMANCE_TOKEN": token} if token else {}


def _written(out: Path) -> Found:
    """The verdicts in the folder ``out``, which the suite names ``[server-]SCENARIO-TIME/checks.json``."""
    found: Found = {}
    for path in out.glob("**/checks.json"):
        name = _TIME.sub("", str(path.parent.relative_to(out)).removeprefix("server-"))
        checks: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found[name] = tuple(
            Check(
                str(each.get("id", "")),
                str(each.get("status", "")),
                str(each.get("description", "")),
                str(each.get("errorMessage") or ""),
            )
            for each in checks
        )
    return found


def _outcome(scenario: str, revision: str, found: Found, said: str) -> Outcome:
    nothing = Check("suite", "FAILURE", "the suite gives a verdict", said.strip()[-_LAST_CHARACTERS:])
    return Outcome(scenario, revision, found.get(scenario, (nothing,)))
