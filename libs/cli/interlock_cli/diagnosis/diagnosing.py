"""The diagnosis of one target: what works, step by step, and every cause that keeps it from working."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from interlock_cli.certificates.chain import is_self_signed
from interlock_cli.diagnosis.causes import Cause, Finding
from interlock_cli.diagnosis.handshaking import Client, Shown, judge, look
from interlock_cli.diagnosis.reaching import Address, Unreached, addresses_of, connect, is_http, plain_answer, wants_tls
from interlock_cli.diagnosis.target import Target
from interlock_common.clock import Clock

WARN_DAYS = 30
_FIRST_BYTES = 60


@dataclass(frozen=True, slots=True)
class Step:
    """``ok`` None: it was not come to."""

    name: str
    ok: bool | None
    seen: str = ""


@dataclass
class Diagnosis:
    """What was found; the first of ``findings`` is what has to be dealt with first."""

    target: Target
    name: str
    steps: list[Step] = field(default_factory=list[Step])
    findings: list[Finding] = field(default_factory=list[Finding])
    warnings: list[str] = field(default_factory=list[str])
    address: Address | None = None
    shown: Shown | None = None
    days_left: int | None = None

    @property
    def ok(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class Asked:
    """How to diagnose: the name to ask for, if not the host; the limit of each step; whom to trust, what to show."""

    name: str | None = None
    seconds: float = 5.0
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def diagnose(target: Target, asked: Asked, clock: Clock) -> Diagnosis:
    """Blocks for a few times ``asked.seconds`` at most; raises FileUnusable for files that were given."""
    client = Client(asked.name or target.host, asked.seconds, asked.ca, asked.cert, asked.key)
    client.context(judging=True)
    found = Diagnosis(target, client.name)
    try:
        addresses = addresses_of(target, asked.seconds)
        found.steps.append(Step("dns", True, ", ".join(address for address, _ in addresses)))
        connection, found.address = connect(addresses, asked.seconds)
    except Unreached as unreached:
        found.steps.append(Step("tcp" if found.steps else "dns", False, unreached.finding.seen))
        found.findings.append(unreached.finding)
        return found
    connection.close()
    found.steps.append(Step("tcp", True, f"{found.address[0]} port {found.address[1]} takes connections"))
    if target.plain:
        _diagnose_plain(found, found.address, client)
    else:
        _diagnose_tls(found, found.address, client, clock.now())
    return found


def _diagnose_plain(found: Diagnosis, address: Address, client: Client) -> None:
    answer = plain_answer(address, client.name, client.seconds)
    if wants_tls(answer) or (not is_http(answer) and isinstance(look(address, client), Shown)):
        _fail(found, "http", Finding(Cause.PLAIN_HTTP_TO_TLS, "plain HTTP was sent, and the port speaks TLS"))
    elif is_http(answer):
        found.steps.append(Step("http", True, _first_line(answer)))
    else:
        _fail(
            found, "http", Finding(Cause.NOT_TLS, f"the port speaks no HTTP: {_first_line(answer) or 'it is silent'}")
        )


def _diagnose_tls(found: Diagnosis, address: Address, client: Client, now: datetime) -> None:
    shown = look(address, client)
    if isinstance(shown, Finding):
        _fail(found, "handshake", _explained(shown, address, client))
        return
    found.shown = shown
    found.steps.append(Step("handshake", True, f"{shown.version}, {shown.cipher}"))
    found.findings += _about_dates(found, shown, now)
    verdict = judge(address, client)
    _add(found, verdict)
    if verdict is not None and verdict.cause is Cause.UNTRUSTED:
        verdict = judge(address, client, shown.chain)
        _add(found, verdict)
    _judge_steps(found, verdict)


def _add(found: Diagnosis, verdict: Finding | None) -> None:
    if verdict is not None and verdict.cause not in {finding.cause for finding in found.findings}:
        found.findings.append(_completed(verdict, found.shown.chain if found.shown else ()))


def _explained(finding: Finding, address: Address, client: Client) -> Finding:
    """A failed handshake again, by what the port says to plain HTTP."""
    if finding.cause not in {Cause.NOT_TLS, Cause.HANDSHAKE}:
        return finding
    answer = plain_answer(address, client.name, client.seconds)
    if is_http(answer) and not wants_tls(answer):
        return Finding(Cause.SCHEME, f"the port speaks plain HTTP, not TLS: {_first_line(answer)}")
    if finding.cause is Cause.NOT_TLS and answer:
        return replace(finding, seen=f"the port speaks something else than TLS: {_first_line(answer)}")
    return finding


def _about_dates(found: Diagnosis, shown: Shown, now: datetime) -> Iterator[Finding]:
    for number, certificate in enumerate(shown.chain):
        which = "the certificate" if number == 0 else f"certificate {number + 1} of the chain ({_name(certificate)})"
        if certificate.not_valid_after_utc <= now:
            yield Finding(Cause.EXPIRED, f"{which} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
        elif certificate.not_valid_before_utc > now:
            yield Finding(Cause.NOT_YET, f"{which} counts from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if shown.chain:
        found.days_left = (shown.chain[0].not_valid_after_utc - now).days
        if 0 <= found.days_left < WARN_DAYS:
            found.warnings.append(f"the certificate ends in {found.days_left} days")


def _completed(verdict: Finding, chain: tuple[x509.Certificate, ...]) -> Finding:
    """Nobody trusts it: because it signed itself, because a part is missing, or because its root is not known."""
    if verdict.cause is not Cause.UNTRUSTED or not chain:
        return verdict
    last = chain[-1]
    if len(chain) == 1 and is_self_signed(last):
        return replace(verdict, seen="the certificate is self-signed, and this machine does not trust it")
    if is_self_signed(last):
        return replace(verdict, seen=f"the chain ends at {_name(last)}, which this machine does not trust")
    missing = last.issuer.rfc4514_string()
    if len(chain) == 1:
        seen = f"the server sends only its own certificate, and its issuer {missing} is not known here"
        return Finding(Cause.INCOMPLETE, seen)
    return replace(verdict, seen=f"the chain ends below {missing}, which this machine does not trust")


def _judge_steps(found: Diagnosis, last: Finding | None) -> None:
    """``last`` is what ended the last handshake: where it was us, the server had no say."""
    causes = {finding.cause: finding.seen for finding in found.findings}
    for name, failing, good in _JUDGED:
        seen = next((causes[cause] for cause in failing if cause in causes), None)
        if seen is None and name == "client" and last is not None:
            found.steps.append(Step(name, None, "it was not come to"))
        else:
            found.steps.append(Step(name, seen is None, seen or good.format(name=found.name, days=found.days_left)))


_JUDGED = (
    ("expiry", (Cause.EXPIRED, Cause.NOT_YET), "{days} days left"),
    ("trust", (Cause.UNTRUSTED, Cause.INCOMPLETE, Cause.UNUSABLE), "the chain leads to a CA that is trusted here"),
    ("name", (Cause.NAME,), "the certificate names {name}"),
    ("client", (Cause.CLIENT_CERTIFICATE, Cause.CLIENT_REFUSED, Cause.HANDSHAKE), "the server takes this client"),
)


def _fail(found: Diagnosis, step: str, finding: Finding) -> None:
    found.steps.append(Step(step, False, finding.seen))
    found.findings.append(finding)


def _first_line(answer: bytes) -> str:
    lines = answer.splitlines()
    return lines[0][:_FIRST_BYTES].decode("ascii", "replace") if lines else ""


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
