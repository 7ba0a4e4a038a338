"""``interlock certs check``: a table, JSON, the full text, and an exit code that scripts go by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from interlock_cli.certificates.checking import DEFAULT_THRESHOLD, Asked, Checked, Finding, check_copies
from interlock_cli.certificates.checking import check as check_file
from interlock_cli.certificates.finding import certificate_files
from interlock_cli.certificates.options import FOLDER, Folder
from interlock_cli.certificates.passphrases import KEY_VARIABLE, find_passphrase
from interlock_cli.certificates.reading import read_certificates
from interlock_cli.certificates.text import describe, fingerprint_of, names_of, serial_of
from interlock_cli.connection import AsJson, errors, plain, print_json, print_table
from interlock_common.clock import SYSTEM_CLOCK

Threshold = Annotated[
    int, typer.Option("--days", envvar="CERT_WARNING_DAYS", min=0, help="Below so many days left it fails.")
]
Full = Annotated[bool, typer.Option("--text", help="Print each certificate in full.")]
_COLUMNS = ("file", "names", "expires", "days", "key", "standing")
_NAMES_SHOWN = 4


def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; the folder of --dir if left out.")
    ] = None,
    folder: Folder = FOLDER,
    threshold: Threshold = DEFAULT_THRESHOLD,
    ca: Annotated[Path | None, typer.Option("--ca", help="The CA that must have signed them.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The key of the one file that is checked.")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="The passphrase of keys; else KEY_FILE_PASSWORD.")
    ] = None,
    *,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Check dates, keys and chains; exit code 1 if something is wrong or expires soon."""
    with errors():
        asked = Asked(
            SYSTEM_CLOCK.now(), threshold, tuple(read_certificates(ca)) if ca else (),
            find_passphrase(KEY_VARIABLE, passphrase_file),
        )  # fmt: skip
        files = certificate_files(paths or [folder])
        if key is not None and len(files) > 1:
            raise typer.BadParameter("it goes with one certificate", param_hint="--key")
        _report([check_file(path, asked, key) for path in files], None, threshold, full=full, as_json=as_json)


def mcp_check(
    folder: Folder = FOLDER,
    threshold: Threshold = DEFAULT_THRESHOLD,
    *,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Check the certificates of the gateway and its plugins, and that all have the same CA."""
    with errors():
        files = certificate_files([folder / "mcp"])
        asked = Asked(SYSTEM_CLOCK.now(), threshold)
        checked = [check_file(path, asked) for path in files]
        _report(checked, check_copies(files), threshold, full=full, as_json=as_json)


def _report(
    checked: Sequence[Checked], differing: Finding | None, threshold: int, *, full: bool, as_json: bool
) -> None:
    wrong = [each for each in checked if not each.is_fine]
    if as_json:
        print_json({
            "ok": not wrong and differing is None, "threshold_days": threshold,
            "certificates": [_document(each) for each in checked],
            "problems": [_finding(differing)] if differing else [],
        })  # fmt: skip
    else:
        print_table(_COLUMNS, map(_row, checked))
        if full:
            _print_texts(checked)
        if differing:
            typer.echo(f"\n{plain(differing.text)}")
        typer.echo(f"\n{len(checked)} checked, {len(wrong)} to be looked at (threshold {threshold} days)")
    if wrong or differing:
        raise typer.Exit(1)


def _row(checked: Checked) -> tuple[str, ...]:
    standing = "; ".join(finding.text for finding in checked.findings) or "ok"
    if checked.leaf is None:
        return str(checked.path), "", "", "", "", standing
    names = names_of(checked.leaf) or [checked.leaf.subject.rfc4514_string()]
    shown = ", ".join(names[:_NAMES_SHOWN]) + (" …" if len(names) > _NAMES_SHOWN else "")
    expires = f"{checked.leaf.not_valid_after_utc:%Y-%m-%d}"
    return str(checked.path), shown, expires, str(checked.days_left), checked.key, standing


def _document(checked: Checked) -> dict[str, Any]:
    leaf = checked.leaf
    document: dict[str, Any] = {
        "file": str(checked.path), "ok": checked.is_fine, "key": checked.key or None, "days_left": checked.days_left,
        "problems": [_finding(each) for each in checked.findings],
    }  # fmt: skip
    if leaf is not None:
        document |= {
            "subject": leaf.subject.rfc4514_string(), "issuer": leaf.issuer.rfc4514_string(),
            "names": names_of(leaf), "serial": serial_of(leaf), "fingerprint": fingerprint_of(leaf),
            "not_before": leaf.not_valid_before_utc.isoformat(), "not_after": leaf.not_valid_after_utc.isoformat(),
        }  # fmt: skip
    return document


def _finding(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "level": finding.level, "text": finding.text}


def _print_texts(checked: Sequence[Checked]) -> None:
    for each in checked:
        for number, certificate in enumerate(each.chain, 1):
            typer.echo(
                f"\n{plain(str(each.path))}" + (f" ({number} of {len(each.chain)})" if len(each.chain) > 1 else "")
            )
            typer.echo("\n".join(f"  {plain(line)}" for line in describe(certificate).splitlines()))
