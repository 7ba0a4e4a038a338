"""``interlock export`` and ``interlock import``: the configuration as one YAML document."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock_cli.client import Client
from interlock_cli.connection import AsJson, connected, print_json, print_table
from interlock_cli.errors import StateUnusable

app = typer.Typer()


@app.command()
@connected
def export(
    client: Client,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of standard output.")] = None,
) -> None:
    """Write down gateways and virtual servers as YAML, without secrets."""
    document = client.text("/export")
    if output is None:
        sys.stdout.write(document)
        return
    try:
        output.write_text(document, encoding="utf-8")
    except OSError as error:
        raise StateUnusable(f"{output} cannot be written: {error.strerror}") from None


@app.command("import")
@connected
def import_(
    client: Client,
    *,
    file: Annotated[
        Path, typer.Argument(help="A document as export writes it, in YAML or JSON; - for standard input.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    replace_secrets: Annotated[
        bool, typer.Option("--replace-secrets", help="Hand on secrets also where nothing else differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create and update what a document says; what is not in it stays. Exit code 1 if anything failed."""
    report = client.send(
        "POST", "/import", dict[str, Any], _read(file), slow=True,
        dry_run=dry_run or None, replace_secrets=replace_secrets or None,
    )  # fmt: skip
    if as_json:
        print_json(report)
    else:
        _tell(report)
    if report["failed"]:
        raise typer.Exit(1)


def _tell(report: dict[str, Any]) -> None:
    print_table(("kind", "name", "outcome", "why"), [
        (each["kind"], each["name"], each["outcome"], ": ".join(filter(None, [each["reason"], _listed(each)])))
        for each in report["items"]
    ])  # fmt: skip
    counts = ", ".join(f"{report[each]} {each}" for each in ("created", "updated", "unchanged", "failed"))
    typer.echo(f"\n{counts}{' (dry run: nothing was changed)' if report['dry_run'] else ''}")


def _listed(item: dict[str, Any]) -> str:
    return ", ".join(item["missing_secrets"])


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise StateUnusable(f"{file} cannot be read: {error.strerror}") from None
