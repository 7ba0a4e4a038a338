"""The table of attacks in docs/attacks.md, made of the attacks themselves: what a test expects is what the table says.

PYTHONPATH=tests/integration python -m stories.attack_table    # writes it anew
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
ATTACKS = ROOT / "tests" / "integration" / "attacks"
TABLE = ROOT / "docs" / "attacks.md"

TOPICS = {
    "alg none": r"alg (none|None|nOnE|empty)",
    "key confusion": r"HS256 with the",
    "kid injection": r"\bkid a (path|file|URL|wildcard)|kid SQL|kid with a NUL",
    "expired": r"expired",
    "not yet valid": r"not valid yet|in the future",
    "wrong audience": r"audience",
    "wrong issuer": r"issuer",
    "wrong environment": r"environment",
    "missing jti and exp": r"no (jti|exp)\b",
    "oversized token": r"token: oversized",
    "replayed refresh token": r"refresh token.*again",
    "open redirect": r"redirect",
    "PKCE downgrade": r"PKCE",
    "scope escalation": r"minted|widen",
    "foreign team": r"foreign team",
    "forged proxy headers": r"forged",
    "CSRF": r"CSRF",
    "header smuggling": r"framed",
    "timing of password checks": r"by the time it takes",
    "enumeration of users": r"unknown name",
    "bound tokens": r"bound",
    "client certificates": r"client certificate",
    "external issuers": r"another authorization server",
}
"""What the suite has to try at least, by the words of the attacks on it."""

_HEAD = """\
# Attacks

{count} attacks run against a whole deployment: every service a process of its own, over real sockets, with the real
permissions on the bus. This is the list of them, with the answer that each must get. It is made of the tests, which
take what they expect from the same place; one of them holds this page to them. `—` stands for no code of ours, as in
answers to what is no HTTP. After each file the audit log is asked for every refusal on MCP.

    uv run pytest tests/integration/attacks -q                            # the attacks
    PYTHONPATH=tests/integration uv run python -m stories.attack_table    # this page, after a change of them

| what must be tried | attacks |
|---|---|
{topics}
"""


@dataclass
class Expected:
    """How an attack is to be answered."""

    status: int
    code: str
    met: bool = field(default=False, init=False)

    def check(self, answer: httpx.Response) -> None:
        """Hold an answer to it."""
        assert (answer.status_code, code_of(answer)) == (self.status, self.code), answer.text
        self.met = True

    def check_status(self, status: int) -> None:
        """Hold the status of an answer to it that has no code of ours."""
        assert status == self.status
        self.met = True


@dataclass(frozen=True)
class Attack:
    """One attack; ``sent`` are the words of its test, ``case`` which of several it is."""

    path: Path
    about: str
    test: str
    sent: str
    case: str
    status: int
    code: str

    @property
    def words(self) -> str:
        return f"{self.sent}: {self.case}"


def code_of(answer: httpx.Response) -> str:
    """The code of a refusal: in the words of JSON-RPC or of OAuth, or as a problem document."""
    body: dict[str, Any] = answer.json()
    error = body.get("error")
    if isinstance(error, str):
        return error
    if error is not None:
        data: dict[str, Any] = error.get("data") or {}
        return str(data.get("code", error["code"]))
    return str(body["type"]).rpartition(":")[2]


def attack_of(item: pytest.Item) -> Attack | None:
    """The attack that a test is; None for one that only looks whether something is as it should be."""
    marker = item.get_closest_marker("attack")
    if marker is None:
        return None
    said: tuple[Any, ...] = (*marker.args, None, None)
    sent, status, code = said[:3]
    callspec = getattr(item, "callspec", None)
    params: dict[str, Any] = {} if callspec is None else callspec.params
    about = (getattr(item, "module").__doc__ or "").partition("\n")[0]  # noqa: B009 - pytest.Item does not declare it
    return Attack(
        item.path, about, item.name.partition("[")[0], sent, "" if callspec is None else callspec.id,
        params.get("status", status), params.get("code", code) or "",
    )  # fmt: skip


def expected_of(item: pytest.Item) -> Expected:
    attack = attack_of(item)
    assert attack is not None, "only an attack expects something: mark it as one"
    return Expected(attack.status, attack.code)


class _Collected:
    def __init__(self) -> None:
        self.attacks: list[Attack] = []

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        self.attacks = [attack for item in items if (attack := attack_of(item)) is not None]


def attacks() -> list[Attack]:
    """All there are, in the order of their files; needs a process of its own, since pytest is asked for them."""
    found = _Collected()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", str(ATTACKS)], plugins=[found])
    if code != 0:
        raise RuntimeError(f"pytest ended with {code}")
    return found.attacks


def table(found: Sequence[Attack]) -> str:
    """The whole page; raises LookupError where nothing is tried of what must be."""
    tried = {topic: sum(bool(re.search(words, each.words)) for each in found) for topic, words in TOPICS.items()}
    if missing := [topic for topic, count in tried.items() if not count]:
        raise LookupError(f"no attack tries {', '.join(missing)}")
    topics = "\n".join(f"| {topic} | {count} |" for topic, count in tried.items())
    parts = [_HEAD.format(count=len(found), topics=topics)]
    for (path, about), of_file in groupby(found, key=lambda each: (each.path, each.about)):
        rows = [_row(list(group)) for _, group in groupby(of_file, key=lambda each: (each.test, each.sent))]
        head = "| what is sent | which | status | code |\n|---|---|---|---|"
        body = "\n".join(line for row in rows for line in row)
        parts.append(f"## {about.rstrip('.')}\n`{path.relative_to(ROOT)}`\n\n{head}\n{body}\n")
    return "\n".join(parts)


def _row(group: Sequence[Attack]) -> list[str]:
    """A line for each answer that the attacks of one test get."""
    answers = Counter((each.status, each.code) for each in group)
    return [
        f"| {group[0].sent} | {_cases([a for a in group if (a.status, a.code) == answer])} "
        f"| {answer[0] or 'no connection'} | {f'`{answer[1]}`' if answer[1] else '—'} |"
        for answer in answers
    ]


def _cases(group: Sequence[Attack]) -> str:
    return "; ".join(_escaped(each.case) for each in group if each.case) or " "


def _escaped(text: str) -> str:
    return re.sub(r"([|*_`<>\[\]\\])", r"\\\1", text)


if __name__ == "__main__":
    page = table(attacks())
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(page)
    else:
        TABLE.write_text(page)
