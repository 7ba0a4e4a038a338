"""Certificate revocation lists (RFC 5280, section 5): one for each issuing CA, signed by it, by HTTP and as a file."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.errors import DropUnusable
from interlock_certs.issuers import Issuer, key_identifier
from interlock_certs.models import IssuedCertificate
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError, NotFound
from interlock_common.messages.certs import Reason
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
_COUNTER = "crl"
_BACKDATED = timedelta(minutes=1)
_RETRY_SECONDS = 5.0
REASONS: dict[Reason, x509.ReasonFlags] = {
    "key_compromise": x509.ReasonFlags.key_compromise,
    "ca_compromise": x509.ReasonFlags.ca_compromise,
    "affiliation_changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation_of_operation": x509.ReasonFlags.cessation_of_operation,
    "privilege_withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
"""What stands in a CRL; ``unspecified`` is said by leaving the reason out (RFC 5280, section 5.3.1)."""


def reason_of(text: str | None) -> Reason:
    """The reason as the database keeps it."""
    for reason in REASONS:
        if reason == text:
            return reason
    return "unspecified"


@dataclass(frozen=True)
class _Signed:
    der: bytes
    renew_at: datetime


class Crls:
    """The CRLs of the issuing CAs that count.

    One is signed when it is asked for and something changed since it was signed last, or half its time is over.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        issuers: Callable[[], Sequence[Issuer]],
        lifetime: timedelta,
        directory: Path | None,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._issuers = issuers
        self._lifetime = lifetime
        self._directory = directory
        self._clock = clock
        self._signed: dict[str, _Signed] = {}
        self._signing = asyncio.Lock()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something was revoked: what is signed is out of date."""
        self._signed.clear()
        self._changed.set()

    async def of(self, issuer_id: str) -> bytes:
        """The CRL (DER) of an issuing CA, by its key id in hex. Raises NotFound."""
        issuer = next((one for one in self._issuers() if one.key_id == issuer_id), None)
        if issuer is None:
            raise NotFound("there is no such issuing CA")
        async with self._signing:
            kept = self._signed.get(issuer_id)
            if kept is None or self._clock.now() >= kept.renew_at:
                kept = self._signed[issuer_id] = await self._sign(issuer)
        return kept.der

    async def keep_written(self) -> None:
        """Write the CRLs as files, for ever: after each change, and before they end."""
        while self._directory is not None:
            self._changed.clear()
            pause = self._lifetime.total_seconds() / 2
            try:
                await self._write(self._directory)
            except (InterlockError, SQLAlchemyError) as error:
                reason = error.detail if isinstance(error, InterlockError) else type(error).__name__
                _log.warning("CRL not written yet", reason=reason)
                pause = _RETRY_SECONDS
            waiting = asyncio.ensure_future(self._changed.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(pause))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (waiting, sleeping):
                    task.cancel()
                await asyncio.gather(waiting, sleeping, return_exceptions=True)

    async def _write(self, directory: Path) -> None:
        """One DER file for each issuing CA, and all of them as PEM in ``crl.pem``."""
        lists = {issuer.key_id: await self.of(issuer.key_id) for issuer in self._issuers()}
        await asyncio.to_thread(_write_files, directory, lists)

    async def _sign(self, issuer: Issuer) -> _Signed:
        now = self._clock.now().replace(microsecond=0)
        async with transaction(self._engine) as session:
            revoked = await store.revoked_leaves(session, issuer.key_id, int(now.timestamp()))
            number = await store.count_up(session, _COUNTER)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(now - _BACKDATED)
            .next_update(now + self._lifetime)
            .add_extension(x509.AuthorityKeyIdentifier(key_identifier(issuer.certificate), None, None), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for leaf in revoked:
            builder = builder.add_revoked_certificate(_entry(leaf))
        crl = await asyncio.to_thread(issuer.sign, builder)
        return _Signed(crl.public_bytes(Encoding.DER), now + self._lifetime / 2)


def _write_files(directory: Path, lists: dict[str, bytes]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for issuer, der in lists.items():
            write_atomically(directory / f"{issuer}.crl", der, private=False)
        pems = (x509.load_der_x509_crl(der).public_bytes(Encoding.PEM) for der in lists.values())
        write_atomically(directory / "crl.pem", b"".join(pems), private=False)
    except OSError as error:
        raise DropUnusable(f"CRL_DIR {directory} cannot be written: {error.strerror}") from None


def _entry(leaf: IssuedCertificate) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(leaf.serial, 16))
        .revocation_date(datetime.fromtimestamp(leaf.revoked_at or 0, UTC))
    )
    for reason, flag in REASONS.items():
        if leaf.reason == reason:
            builder = builder.add_extension(x509.CRLReason(flag), critical=False)
    return builder.build()
