"""``interlock audit`` believes nothing but the signature, and names the first record that does not hold."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from interlock_cli import audit
from interlock_cli.audit import audit_app
from interlock_cli.audit_verify import Seen, verify_api, verify_tiles
from interlock_cli.client import Client, Endpoint, Refused, Unexpected, find_endpoint
from interlock_cli.errors import NotRunning
from interlock_common.messages.audit import (
    CallIntent,
    CallOutcome,
    Checkpoint,
    ConsistencyProof,
    Gap,
    InclusionProof,
    RecordList,
    StoredRecord,
)
from interlock_common.transparency.merkle import consistency_ranges, inclusion_ranges, leaf_hash, root_of
from interlock_common.transparency.note import Signer, TreeHead
from interlock_common.transparency.tiles import WIDTH, encode_entries, entries_path, tiles_of, width_at

ORIGIN = "interlock/test/audit"
SIGNER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"k" * 32))
KEY = str(SIGNER.verifier)


def leaf(number: int) -> bytes:
    return msgspec.json.encode(
        CallIntent(id=f"i{number}", at=number, principal="ann", method="tools/call", tool="echo", upstream="u")
    )


@dataclass
class FakeGateway:
    """Answers as the gateway does: ``signed`` are the leaves that were signed, ``shown`` those it shows now."""

    signed: list[bytes]
    shown: list[bytes] = field(default_factory=list[bytes])
    signer: Signer = SIGNER
    asked: int = 0

    def __post_init__(self) -> None:
        self.shown = self.shown or list(self.signed)
        self.hashes = [leaf_hash(found) for found in self.signed]

    def note(self) -> str:
        return self.signer.sign(TreeHead(ORIGIN, len(self.signed), root_of(self.hashes)).text())

    def stored(self, index: int) -> StoredRecord:
        try:
            return StoredRecord(index, f"r{index}", self.shown[index].decode())
        except UnicodeDecodeError:
            return StoredRecord(index, f"r{index}", base64.b64encode(self.shown[index]).decode(), base64=True)

    def answer(self, path: str, query: dict[str, Any]) -> msgspec.Struct:
        match path.strip("/").split("/"):
            case ["audit", "checkpoint"]:
                return Checkpoint(self.note(), str(self.signer.verifier))
            case ["audit", "records"]:
                first, last = int(query.get("after", 0)), len(self.shown)
                shown = range(first, min(first + int(query["limit"]), last))
                return RecordList(tuple(map(self.stored, shown)), last)
            case ["audit", "records", record, "proof"]:
                self.asked += 1
                index, size = int(record[1:]), int(query["tree_size"])
                hashes = self.roots(inclusion_ranges(index, size))
                return InclusionProof(self.stored(index), size, hashes, Checkpoint(self.note(), KEY))
            case ["audit", "consistency"]:
                old, new = int(query["old_size"]), int(query["new_size"])
                return ConsistencyProof(old, new, self.roots(consistency_ranges(old, new)))
            case _:
                raise AssertionError(path)

    def roots(self, ranges: list[tuple[int, int]]) -> tuple[str, ...]:
        return tuple(root_of(self.hashes[low:high]).hex() for low, high in ranges)

    def client(self) -> Client:
        def handle(request: httpx.Request) -> httpx.Response:
            return httpx.Response(
                200, content=msgspec.json.encode(self.answer(request.url.path, dict(request.url.params)))
            )

        return Client(Endpoint("http://gateway", "t"), httpx.MockTransport(handle))

    def write(self, directory: Path) -> None:
        """The folder of tiles over what was signed, with the bundles of what is shown."""
        for tile in tiles_of(len(self.signed)):
            span = WIDTH**tile.level
            nodes = [
                root_of(self.hashes[at * span : (at + 1) * span])
                for at in range(tile.number * WIDTH, tile.number * WIDTH + tile.width)
            ]
            put(directory / tile.path, b"".join(nodes))
        for number in range(-(-len(self.signed) // WIDTH)):
            width = width_at(len(self.signed), 0, number)
            put(directory / entries_path(number, width), encode_entries(self.shown[number * WIDTH :][:width]))
        put(directory / "checkpoint", self.note().encode())


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_a_log_that_holds_holds() -> None:
    gateway = FakeGateway([*map(leaf, range(1200)), b"\xff\xfe"])
    report, seen = verify_api(gateway.client(), None, None, proofs=5)
    assert report.problems == []
    assert (report.records, report.proofs, report.unreadable) == (1201, 5, 1)
    assert seen == Seen(KEY, gateway.note())


@pytest.mark.parametrize("index", [0, 1, 255, 256, 700, 998, 999])
def test_the_first_altered_record_is_named(index: int) -> None:
    leaves = [leaf(number) for number in range(1000)]
    gateway = FakeGateway(leaves, [*leaves[:index], b"altered", *leaves[index + 1 :]])
    gateway.shown[999] = b"altered as well"
    report, seen = verify_api(gateway.client(), None, None, proofs=0)
    assert report.first_bad_index == index
    assert seen is None
    assert gateway.asked < 40


def test_a_record_that_was_cut_off_is_named() -> None:
    leaves = [leaf(number) for number in range(10)]
    report, _ = verify_api(FakeGateway(leaves, leaves[:7]).client(), None, None, proofs=0)
    assert report.first_bad_index == 7


def test_history_that_was_signed_anew_is_noticed() -> None:
    leaves = [leaf(number) for number in range(100)]
    _, seen = verify_api(FakeGateway(leaves[:60]).client(), None, None, proofs=0)
    report, kept = verify_api(FakeGateway(leaves).client(), None, seen, proofs=0)
    assert report.consistent_with == 60
    assert kept is not None
    rewritten, _ = verify_api(FakeGateway([b"{}", *leaves[1:]]).client(), None, seen, proofs=0)
    assert len(rewritten.problems) == 2  # by the records and by the log's own proof
    shrunk, _ = verify_api(FakeGateway(leaves[:50]).client(), None, seen, proofs=0)
    assert "shrank" in shrunk.problems[0]


def test_another_key_than_before_is_noticed() -> None:
    leaves = [leaf(1)]
    _, seen = verify_api(FakeGateway(leaves).client(), None, None, proofs=0)
    other = Signer(ORIGIN, Ed25519PrivateKey.generate())
    report, _ = verify_api(FakeGateway(leaves, signer=other).client(), None, seen, proofs=0)
    assert "no signature" in report.problems[0]


def test_gaps_and_open_intents_are_named() -> None:
    done = msgspec.json.encode(CallOutcome(id="o", at=3, intent="i0", outcome="ok", ms=1.0))
    gap = msgspec.json.encode(Gap(id="g", at=4, first=5, last=7, author="gateway-a"))
    report, _ = verify_api(FakeGateway([leaf(0), leaf(1), done, gap]).client(), None, None, proofs=0)
    assert report.gaps == ["record 3: batches of gateway-a 5 to 7 were lost"]
    assert report.open_intents == ["record 1: i1"]
    assert report.problems == []


@pytest.mark.parametrize("size", [1, 256, 300, 700])
def test_tiles_verify_offline(tmp_path: Path, size: int) -> None:
    FakeGateway([leaf(number) for number in range(size)]).write(tmp_path)
    report, seen = verify_tiles(tmp_path, SIGNER.verifier, None)
    assert report.problems == []
    assert report.records == size
    again, _ = verify_tiles(tmp_path, SIGNER.verifier, seen)
    assert again.consistent_with == size


@pytest.mark.parametrize("index", [0, 255, 256, 650])
def test_offline_the_first_altered_record_is_named(tmp_path: Path, index: int) -> None:
    leaves = [leaf(number) for number in range(700)]
    FakeGateway(leaves, [*leaves[:index], b"altered", *leaves[index + 1 :]]).write(tmp_path)
    report, _ = verify_tiles(tmp_path, SIGNER.verifier, None)
    assert report.first_bad_index == index


def remove_bundle(directory: Path) -> None:
    (directory / "tile/entries/001").unlink()


def alter_upper_tile(directory: Path) -> None:
    path = directory / "tile/1/000.p/2"
    path.write_bytes(path.read_bytes()[:32] + b"x" * 32)


def cut_tile(directory: Path) -> None:
    path = directory / "tile/0/001"
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("harm", [remove_bundle, alter_upper_tile, cut_tile])
def test_offline_missing_and_altered_files_are_noticed(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    FakeGateway([leaf(number) for number in range(700)]).write(tmp_path)
    harm(tmp_path)
    report, _ = verify_tiles(tmp_path, SIGNER.verifier, None)
    assert report.problems
    assert report.first_bad_index == 256


def connect(monkeypatch: pytest.MonkeyPatch, gateway: FakeGateway) -> None:
    def client(_endpoint: Endpoint) -> Client:
        return gateway.client()

    monkeypatch.setattr(audit, "Client", client)


def test_the_command_verifies_remembers_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = [leaf(number) for number in range(20)]
    run = CliRunner().invoke
    options = ["--url", "http://gateway", "--token", "t", "--state", str(tmp_path)]

    def use(gateway: FakeGateway) -> None:
        connect(monkeypatch, gateway)

    use(FakeGateway(leaves[:10]))
    first = run(audit_app, ["verify", "--json", *options])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["size"] == 10
    use(FakeGateway(leaves))
    second = run(audit_app, ["verify", *options])
    assert "continues the 10 records" in second.stdout
    assert "intent without an outcome" in second.stdout
    assert run(audit_app, ["verify", "--strict", *options]).exit_code == 1
    use(FakeGateway([b"{}", *leaves[1:]]))
    assert run(audit_app, ["verify", *options]).exit_code == 1
    use(FakeGateway(leaves, [*leaves[:5], b"{}", *leaves[6:]]))
    altered = run(audit_app, ["verify", *options])
    assert altered.exit_code == 1
    assert "first bad record: 5" in altered.stdout


def test_the_command_lists_records_as_a_table_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = msgspec.json.encode(CallOutcome(id="o", at=3, intent="i0", outcome="ok", ms=1.0))
    gateway = FakeGateway([done, leaf(0)])
    connect(monkeypatch, gateway)
    options = ["list", "--url", "http://gateway", "--token", "t", "--state", str(tmp_path)]
    table = CliRunner().invoke(audit_app, options, env={"COLUMNS": "200"})
    assert [line.split() for line in table.stdout.splitlines()[1:]] == [
        ["1", "1970-01-01", "00:00:00Z", "call.intent", "ann", "echo"],
        ["0", "1970-01-01", "00:00:00Z", "call.outcome", "ann", "echo", "ok"],
    ]
    lines = [json.loads(line) for line in CliRunner().invoke(audit_app, [*options, "--json"]).stdout.splitlines()]
    assert [line["record"]["kind"] for line in lines] == ["call.intent", "call.outcome"]


def refusing(status: int, body: bytes, kind: str) -> Client:
    def handle(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"content-type": kind})

    return Client(Endpoint("http://gateway", "t"), httpx.MockTransport(handle))


def test_refusals_become_sentences() -> None:
    body = b'{"type":"urn:interlock:error:permission_denied","title":"permission denied","status":403,"detail":"no"}'
    with pytest.raises(Refused, match="permission denied: no"):
        refusing(403, body, "application/problem+json").get("/audit/checkpoint", Checkpoint)
    with pytest.raises(Unexpected, match="answers 502"):
        refusing(502, b"<html>", "text/html").get("/audit/checkpoint", Checkpoint)
    with pytest.raises(Unexpected, match="something else"):
        refusing(200, b"<html>", "text/html").get("/audit/checkpoint", Checkpoint)


def test_a_gateway_that_is_away_is_said_so(tmp_path: Path) -> None:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(NotRunning, match="does not answer"):
        Client(Endpoint("http://gateway", "t"), httpx.MockTransport(handle)).get("/audit/checkpoint", Checkpoint)
    with pytest.raises(NotRunning, match="interlock up"):
        find_endpoint(None, None, tmp_path)


def test_the_endpoint_is_found_in_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "endpoint.json").write_text(json.dumps({"url": "http://x/", "token_file": str(tmp_path / "token")}))
    assert find_endpoint(None, None, tmp_path) == Endpoint("http://x", "secret")
    assert find_endpoint("http://y", "t", tmp_path) == Endpoint("http://y", "t")
