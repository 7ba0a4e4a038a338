"""Who attacks and what is attacked: people with little, objects that are not theirs, and a forger with the real key.

Whatever an attack asks for carries a text of its own (`marked`), so that it shows whether anything got through.
"""

import json
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stories.attack_table import Expected
from stories.deployment import wait_for
from stories.load import modern_call
from stories.stage import Stage

PASSWORD = "Nobody-tries-this-first-71"
SECRET_SERVER = "attacked-red"
OWN_SERVER = "attacked-own"
TOOL = "notes-add_note"
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # spares each client the reading of certificates that nobody asks for

type Sent = dict[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Person:
    """Somebody who can log in."""

    name: str
    token: str


@dataclass(frozen=True)
class Forger:
    """Signs what nobody else could: the key is that of the deployment, ``claims`` those of its administrator."""

    key: Ed25519PrivateKey
    kid: str
    claims: Mapping[str, Any]

    def token(
        self, changes: Mapping[str, Any] | None = None, *, without: str = "", headers: Mapping[str, Any] | None = None
    ) -> str:
        claims = dict(self.claims) | {"jti": str(uuid.uuid4())} | dict(changes or {})
        claims.pop(without, None)
        return jwt.encode(claims, self.key, "EdDSA", headers={"kid": self.kid, "typ": "at+jwt", **(headers or {})})


@dataclass
class Ground:
    """A deployment under attack. ``alice`` is of team ``team``, ``bob`` develops, ``carol`` may do nothing."""

    stage: Stage
    forger: Forger
    alice: Person
    bob: Person
    carol: Person
    team: str
    gateway: str
    expected: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def url(self) -> str:
        return self.stage.deployment.url

    def as_(self, token: str | None) -> httpx.Client:
        """Somebody's client; each has a connection, and so an address in the record, of its own."""
        headers = bearer(token) if token else {}
        hooks: dict[str, list[Any]] = {"response": [note_peer]}
        return httpx.Client(base_url=self.url, headers=headers, timeout=15, verify=_NO_TLS, event_hooks=hooks)

    def call(self, headers: Sent, marker: str, path: str = "/mcp", tool: str = TOOL) -> httpx.Response:
        """Call a tool that would leave ``marker`` behind."""
        said, body = modern_call(tool, {"text": marker}, 1)
        sent = httpx.Headers(headers)
        sent.update(said)
        with self.as_(None) as client:
            return client.post(path, headers=sent, json=body)

    def left(self, marker: str) -> bool:
        """Whether a note with ``marker`` is in the notebook."""
        headers, body = modern_call("notes-search_notes", {"query": marker}, 1)
        with self.as_(self.stage.token) as client:
            answer = client.post("/mcp", headers=headers, json=body).raise_for_status()
        return bool(answer.json()["result"]["structuredContent"]["notes"])

    def refused(self, answer: httpx.Response, expected: Expected) -> None:
        """Hold an answer to what was expected, and remember that the record must have a refusal of it."""
        expected.check(answer)
        self.expected.append((peer_of(answer), expected.code))

    def check_recorded(self) -> None:
        """Wait until each refusal that was seen is in the audit log."""
        missing = list(self.expected)

        def recorded() -> bool:
            with self.as_(self.stage.token) as client:
                query: dict[str, str | int] = {"kind": "call.refused", "limit": 1000}
                page = client.get("/audit/records", params=query).raise_for_status().json()["records"]
            leaves = [json.loads(record["leaf"]) for record in page]
            known = {(leaf["peer"], leaf["reason"]) for leaf in leaves}
            missing[:] = [each for each in self.expected if each not in known]
            return not missing

        wait_for(recorded, f"the refusals {missing}", 30)


def marked() -> str:
    """A text that nothing else leaves behind."""
    return f"attack-{uuid.uuid4().hex}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def peer_of(answer: httpx.Response) -> str:
    """From where an answer was asked, as the audit log names it."""
    return str(answer.extensions["peer"])


def note_peer(answer: httpx.Response) -> None:
    """While the connection still stands."""
    host, port = answer.extensions["network_stream"].get_extra_info("client_addr")[:2]
    answer.extensions["peer"] = f"{host}:{port}"


def forger_of(stage: Stage) -> Forger:
    (pem,) = (stage.deployment.state.keys / "auth").glob("*.pem")
    key = load_pem_private_key(pem.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return Forger(key, pem.stem, jwt.decode(stage.token, options={"verify_signature": False}))
