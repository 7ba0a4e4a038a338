"""OCSP statuses of client certificates, asked for when a certificate is first shown and again before they end.

A request waits for the first answer, for three seconds at most; from then on it is a look into memory. ``soft`` lets a
certificate pass of which nobody can say anything at the moment, ``hard`` does not.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_gateway.certificates.errors import CertificateRevoked, CertificateStatusUnknown
from interlock_gateway.certificates.issuers import Issuers
from interlock_gateway.certificates.ocsp import AnswerRefused, Status, question, read_answer, responder_of
from interlock_gateway.certificates.peer import PeerCertificate

_log = structlog.get_logger()
_MAX_KNOWN = 10_000
_PATIENCE = 3.0
_TRY_AGAIN = 30.0
_AHEAD = 30.0
_IN_USE = 900.0
_ROUND = 5.0

type Mode = Literal["soft", "hard"]
type Ask = Callable[[str, bytes], Awaitable[bytes]]
"""Posts a request in DER to a responder; raises InterlockError where there is no answer."""


@dataclass(slots=True)
class _Known:
    peer: PeerCertificate
    status: Status | None = None
    used: float = 0.0
    tried: float = float("-inf")
    asking: asyncio.Task[None] | None = None


class OcspStatuses:
    """The statuses of one edge; ``revoked`` is called when one that counted turns out to be revoked."""

    def __init__(
        self, ask: Ask, issuers: Issuers, clock: Clock, *, mode: Mode = "hard", responder: str = "",
        revoked: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._ask = ask
        self._issuers = issuers
        self._clock = clock
        self._hard = mode == "hard"
        self._responder = responder
        self.revoked = revoked
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def check(self, peer: PeerCertificate) -> None:
        """Raise CertificateRevoked, or CertificateStatusUnknown where one has to be known."""
        known = self._known.get(peer.fingerprint)
        status = known.status if known is not None else None
        if status is not None and status.word == "revoked":
            raise CertificateRevoked("the client certificate has been revoked by its CA")
        if self._hard and (status is None or status.word != "good" or status.ends <= self._clock.time()):
            raise CertificateStatusUnknown("the OCSP responder says nothing of the client certificate at the moment")

    async def learn(self, peer: PeerCertificate) -> None:
        """Return when the status is known, or cannot be had in time."""
        known = self._entry(peer)
        known.used = now = self._clock.time()
        if known.status is not None and known.status.ends > now:
            return
        if self._clock.monotonic() - known.tried < _TRY_AGAIN and known.asking is None:
            return
        asking = self._begin(known)
        await asyncio.wait([asking], timeout=_PATIENCE)

    async def keep_fresh(self) -> None:
        """Ask again for the certificates that are in use, before their statuses end; for ever."""
        while True:
            await self._clock.sleep(_ROUND)
            now = self._clock.time()
            for known in tuple(self._known.values()):
                status = known.status
                if status is not None and status.ends - now < _AHEAD and now - known.used < _IN_USE:
                    self._begin(known)

    async def stop(self) -> None:
        asking = [known.asking for known in self._known.values() if known.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _entry(self, peer: PeerCertificate) -> _Known:
        known = self._known.get(peer.fingerprint)
        if known is None:
            known = self._known[peer.fingerprint] = _Known(peer)
            if len(self._known) > _MAX_KNOWN:
                _, oldest = self._known.popitem(last=False)
                if oldest.asking is not None:
                    oldest.asking.cancel()
        else:
            self._known.move_to_end(peer.fingerprint)
        return known

    def _begin(self, known: _Known) -> asyncio.Task[None]:
        """Ask once, however many wait for the answer."""
        if known.asking is None:
            known.tried = self._clock.monotonic()
            known.asking = asyncio.create_task(self._learn(known))
        return known.asking

    async def _learn(self, known: _Known) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await self._status(known.peer)
        except (InterlockError, TimeoutError) as error:
            reason = error.detail if isinstance(error, InterlockError) else f"no answer within {_PATIENCE:g} s"
            _log.warning("no OCSP status", certificate=known.peer.fingerprint, reason=reason)
            return
        finally:
            known.asking = None
        known.status = status
        if status.word == "revoked":
            self.revoked()

    async def _status(self, peer: PeerCertificate) -> Status:
        issuer = self._issuers.of(peer)
        if issuer is None:
            raise AnswerRefused("the CA of the certificate is not known here")
        responder = self._responder or responder_of(peer)
        if responder is None:
            raise AnswerRefused("the certificate names no OCSP responder, and CLIENT_OCSP_URL is not set")
        content = await self._ask(responder, question(peer, issuer))
        return read_answer(content, peer, issuer, self._clock.time())
