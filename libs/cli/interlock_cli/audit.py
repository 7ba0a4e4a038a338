"""``interlock audit``: follow, list and verify the tamper-evident record."""

import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interlock_cli.audit_verify import Report, Seen, leaf_of, pages, verify_api, verify_tiles
from interlock_cli.client import Client, find_endpoint
from interlock_cli.errors import CommandError, StateUnusable
from interlock_cli.state import read_json, write_json
from interlock_common.messages.audit import RecordList, StoredRecord
from interlock_common.transparency.note import NoteInvalid, TreeHead, Verifier

audit_app = typer.Typer(name="audit", help="Follow, list and verify the audit trail.", no_args_is_help=True)

# Plain aliases: typer does not look through those of the ``type`` statement.
Url = Annotated[str | None, typer.Option(help="The gateway.", envvar="INTERLOCK_URL")]
Token = Annotated[str | None, typer.Option(help="An access token.", envvar="INTERLOCK_TOKEN")]
State = Annotated[Path, typer.Option("--state", help="The state folder.", envvar="INTERLOCK_STATE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.")]
Principal = Annotated[str | None, typer.Option(help="Only records of this principal.")]
Kind = Annotated[str | None, typer.Option(help="Only this kind, such as call.intent or gap.")]
Trace = Annotated[str | None, typer.Option("--trace", help="Only records of this trace id.")]

_STATE = Path(".interlock")
_POLL_SECONDS = 1.0
_SEEN = "audit-seen.json"
_NAMED = 20  # how many gaps or intents are named one by one


@audit_app.command("list")
def list_records(
    *,
    url: Url = None,
    token: Token = None,
    state: State = _STATE,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 50,
    before: Annotated[int | None, typer.Option(help="Only records before this index.", min=0)] = None,
    principal: Principal = None,
    kind: Kind = None,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """List the newest records, the last one at the bottom."""
    with _client(url, token, state) as client:
        found = client.get(
            "/audit/records", RecordList,
            limit=limit, before=before, principal=principal, kind=kind, trace_id=trace,
        )  # fmt: skip
    records = found.records[::-1]
    if as_json:
        _print_json(records)
    else:
        table = Table("#", "time", "kind", "principal", "tool", "outcome", "trace id", box=None, header_style="bold")
        for row in _Rows().of(records):
            table.add_row(*map(escape, row))
        Console().print(table)


@audit_app.command()
def tail(
    *,
    url: Url = None,
    token: Token = None,
    state: State = _STATE,
    lines: Annotated[int, typer.Option("-n", help="How many past records to begin with.", min=0, max=1000)] = 10,
    principal: Principal = None,
    kind: Kind = None,
    trace: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Follow the records as they are written, until Ctrl-C."""
    query: dict[str, Any] = {"principal": principal, "kind": kind, "trace_id": trace}
    rows = _Rows()
    with _client(url, token, state) as client:
        past = client.get("/audit/records", RecordList, limit=max(lines, 1), **query)
        after = past.tree_size if not past.records or not lines else past.records[-1].index
        try:
            while True:
                for page, following in pages(client, after, query):
                    after = following
                    _print_json(page) if as_json else _print_lines(rows, page)
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            return


@audit_app.command()
def verify(
    *,
    url: Url = None,
    token: Token = None,
    state: State = _STATE,
    directory: Annotated[Path | None, typer.Option("--dir", help="Verify these tiles, offline.")] = None,
    key: Annotated[str | None, typer.Option(help="The verifier key of the log (vkey form), or a file of it.")] = None,
    proofs: Annotated[int, typer.Option(help="Check the inclusion proofs of so many records.", min=0)] = 10,
    strict: Annotated[bool, typer.Option(help="Gaps and intents without an outcome fail, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check signature, records, proofs and history; fails naming the first record that does not hold."""
    with _errors():
        verifier = _verifier(key)
        kept = _read_seen(state)
        if directory is not None:
            if verifier is None:
                raise StateUnusable("offline, --key must say which key the log has")
            report, seen = verify_tiles(directory, verifier, _seen(kept, verifier.name))
        else:
            with _client(url, token, state) as client:
                endpoint = verifier.name if verifier else f"{find_endpoint(url, token, state).url}"
                report, seen = verify_api(client, verifier, _seen(kept, endpoint), proofs)
                if seen is not None:
                    kept[endpoint] = msgspec.to_builtins(seen)
        if seen is not None and report.head is not None:
            kept[report.head.origin] = msgspec.to_builtins(seen)
            write_json(_seen_file(state), kept)
    failed = bool(report.problems) or (strict and bool(report.gaps or report.open_intents))
    _print_json_report(report, failed=failed) if as_json else _print_report(report)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _errors() -> Generator[None]:
    """A refusal is one line on standard error and its exit code."""
    try:
        yield
    except CommandError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(error.exit_code) from None


@contextmanager
def _client(url: str | None, token: str | None, state: Path) -> Generator[Client]:
    with _errors(), Client(find_endpoint(url, token, state)) as client:
        yield client


def _verifier(key: str | None) -> Verifier | None:
    if key is None:
        return None
    try:
        text = Path(key).read_text(encoding="utf-8") if "+" not in key else key
        return Verifier.parse(text)
    except OSError as error:
        raise StateUnusable(f"{key} cannot be read: {error.strerror}") from None
    except NoteInvalid as error:
        raise StateUnusable(str(error)) from None


def _seen_file(state: Path) -> Path:
    folder = state if state.is_dir() else Path(typer.get_app_dir("interlock"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / _SEEN


def _read_seen(state: Path) -> dict[str, object]:
    file = _seen_file(state)
    return read_json(file) if file.exists() else {}


def _seen(kept: dict[str, object], name: str) -> Seen | None:
    return msgspec.convert(kept[name], Seen) if name in kept else None


class _Rows:
    """Records as rows; an outcome shows the principal and the tool of its intent when that was shown."""

    def __init__(self) -> None:
        self._intents: dict[str, tuple[str, str]] = {}

    def of(self, records: Iterable[StoredRecord]) -> Generator[tuple[str, ...]]:
        for record in records:
            try:
                content = msgspec.json.decode(leaf_of(record), type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError):
                content = {"kind": "malformed"}
            yield (str(record.index), *self._columns(content))

    def _columns(self, content: dict[str, Any]) -> tuple[str, ...]:
        at, kind = content.get("at"), str(content.get("kind", ""))
        moment = _moment(at) if isinstance(at, int) else ""
        principal = str(content.get("principal") or content.get("actor") or "")
        tool = str(content.get("tool") or content.get("target") or content.get("action") or "")
        outcome = str(content.get("outcome") or "")
        if kind == "call.intent":
            self._intents[str(content.get("id"))] = principal, tool
        elif kind == "call.outcome":
            principal, tool = self._intents.pop(str(content.get("intent")), (principal, tool))
        elif kind == "call.refused":
            outcome = str(content.get("reason") or "refused")
        elif kind == "action":
            tool, outcome = str(content.get("target") or ""), str(content.get("action") or "")
        elif kind == "gap":
            tool, outcome = str(content.get("author") or "stream"), f"lost {content.get('first')}-{content.get('last')}"
        return moment, kind, principal, tool, outcome, str(content.get("trace_id") or "")


def _moment(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


def _print_lines(rows: _Rows, records: Iterable[StoredRecord]) -> None:
    for row in rows.of(records):
        sys.stdout.write("  ".join(part or "-" for part in row) + "\n")
    sys.stdout.flush()


def _print_json(records: Iterable[StoredRecord]) -> None:
    for record in records:
        line: dict[str, Any] = {"index": record.index, "id": record.id}
        try:
            line["record"] = msgspec.json.decode(leaf_of(record))
        except (msgspec.DecodeError, UnicodeDecodeError):
            line |= {"leaf": record.leaf, "base64": record.base64}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def _print_json_report(report: Report, *, failed: bool) -> None:
    head = report.head
    document = {
        "holds": not failed,
        "origin": head.origin if head else None,
        "size": head.size if head else None,
        "root": head.root.hex() if head else None,
        "records": report.records,
        "proofs": report.proofs,
        "consistent_with": report.consistent_with,
        "first_bad_index": report.first_bad_index,
        "problems": report.problems,
        "gaps": report.gaps,
        "open_intents": report.open_intents,
        "unreadable": report.unreadable,
    }
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")


def _print_report(report: Report) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if report.head is not None:
        _print_head(console, report, report.head)
    for title, named in (("gap", report.gaps), ("intent without an outcome", report.open_intents)):
        for text in named[:_NAMED]:
            console.print(f"[yellow]{title}[/]: {escape(text)}")
        if len(named) > _NAMED:
            console.print(f"[yellow]{title}[/]: and {len(named) - _NAMED} more")
    if report.unreadable:
        console.print(f"[yellow]not of the record format[/]: {report.unreadable} records, kept as they came")
    for problem in report.problems:
        console.print(f"[red]does not hold[/]: {escape(problem)}")
    if report.first_bad_index is not None:
        console.print(f"[red]first bad record[/]: {report.first_bad_index}")
    if not report.problems:
        console.print("[green]The log holds.[/]")


def _print_head(console: Console, report: Report, head: TreeHead) -> None:
    console.print(f"log         {escape(head.origin)}")
    console.print(f"checkpoint  {head.size} records, root {head.root.hex()}, signature holds")
    console.print(f"records     {report.records} read, {report.proofs} inclusion proofs checked")
    if report.consistent_with is not None:
        console.print(f"history     continues the {report.consistent_with} records seen the last time")
