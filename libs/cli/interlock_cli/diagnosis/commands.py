"""``interlock tls …``: looking at TLS from outside."""

from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509

from interlock_cli.certificates.text import fingerprint_of, names_of
from interlock_cli.connection import AsJson, errors, plain, print_json, print_table
from interlock_cli.diagnosis.diagnosing import Asked, Diagnosis, Step
from interlock_cli.diagnosis.diagnosing import diagnose as diagnosed
from interlock_cli.diagnosis.target import Target
from interlock_common.clock import SYSTEM_CLOCK

app = typer.Typer(help="TLS seen from outside: diagnose a port.", no_args_is_help=True)
_STANDING = {True: "ok", False: "failed", None: "-"}


@app.callback()
def tls() -> None:
    """TLS seen from outside."""


@app.command()
def diagnose(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Or an address: https://… or http://….")],
    name: Annotated[str | None, typer.Option("--name", help="The name to ask for, if not the host.")] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="CA certificates to trust beside the system's.")] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="A client certificate to show, with its chain.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its private key.")] = None,
    seconds: Annotated[float, typer.Option("--timeout", help="Seconds for each step.", min=0.1, max=60)] = 5.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Say why a TLS connection does not come about, and what to do; 0 when it does, else a code for each cause."""
    with errors():
        found = diagnosed(Target.parse(target), Asked(name, seconds, ca, cert, key), SYSTEM_CLOCK)
        print_json(_document(found)) if as_json else _print(found)
    if found.findings:
        raise typer.Exit(found.findings[0].cause.value.exit_code)


def _print(found: Diagnosis) -> None:
    print_table(("step", "", "seen"), [(step.name, _STANDING[step.ok], plain(step.seen)) for step in found.steps])
    if found.shown is not None:
        typer.echo("")
        print_table(("certificate", "issuer", "names", "expires"), map(_row, found.shown.chain))
    typer.echo("")
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    for finding in found.findings:
        known = finding.cause.value
        typer.echo(f"{known.name}: {plain(finding.seen)}\n  {known.advice}")
    if found.ok:
        typer.echo(f"{found.target}: nothing is wrong")


def _row(certificate: x509.Certificate) -> tuple[str, ...]:
    return (
        plain(certificate.subject.rfc4514_string()), plain(certificate.issuer.rfc4514_string()),
        plain(", ".join(names_of(certificate))), f"{certificate.not_valid_after_utc:%Y-%m-%d}",
    )  # fmt: skip


def _document(found: Diagnosis) -> dict[str, Any]:
    shown = found.shown
    return {
        "target": str(found.target),
        "name": found.name,
        "ok": found.ok,
        "address": found.address[0] if found.address else None,
        "steps": [_step(step) for step in found.steps],
        "findings": [
            {"cause": each.cause.value.name, "seen": each.seen, "advice": each.cause.value.advice}
            for each in found.findings
        ],
        "warnings": found.warnings,
        "version": shown.version if shown else None,
        "cipher": shown.cipher if shown else None,
        "alpn": shown.alpn if shown else None,
        "days_left": found.days_left,
        "chain": [_certificate(certificate) for certificate in shown.chain] if shown else [],
    }


def _step(step: Step) -> dict[str, Any]:
    return {"step": step.name, "ok": step.ok, "seen": step.seen}


def _certificate(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": names_of(certificate),
        "serial": f"{certificate.serial_number:x}",
        "fingerprint": fingerprint_of(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }
