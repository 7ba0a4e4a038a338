"""The generations of the CA: several roots with their issuing CAs at a time, and what each is good for.

``prepared`` is trusted and signs nothing yet, ``active`` signs, ``retiring`` did until the next one became active,
``tainted`` has leaves that are to be replaced at once, ``revoked`` counts no longer. The first lies in CA_DIR itself,
the others in ``CA_DIR/ca-<number>``; what each is good for is in the database.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from interlock_certs import store
from interlock_certs.authority import Authority, Leaf
from interlock_certs.errors import AuthorityUnusable, StepRefused
from interlock_certs.issuers import Issuer, key_identifier
from interlock_certs.profiles import Grant
from interlock_certs.requests import LeafKey
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.certs import CaGeneration, CaState, Step

_log = structlog.get_logger()
_BUNDLE = "bundle"
_BACKDATED = timedelta(minutes=1)
_SHA256 = hashes.SHA256()
_STATES: tuple[CaState, ...] = get_args(CaState.__value__)
_NEXT: dict[CaState, Step] = {"prepared": "activate", "retiring": "taint", "tainted": "revoke"}

type Open = Callable[[Path], Authority]


@dataclass(frozen=True)
class Generation:
    """One root and the issuing CAs below it."""

    number: int
    state: CaState
    authority: Authority

    @property
    def root_key_id(self) -> str:
        return key_identifier(self.authority.root).hex()

    def described(self) -> CaGeneration:
        root = self.authority.root
        begin, end = (int(moment.timestamp()) for moment in (root.not_valid_before_utc, root.not_valid_after_utc))
        return CaGeneration(self.number, self.state, fingerprint(root), self.root_key_id, begin, end)


class Generations:
    """What certs issues with, and the steps from one CA to the next; nothing works before ``load``."""

    def __init__(self, engine: AsyncEngine, directory: Path, open_authority: Open, clock: Clock) -> None:
        self._engine = engine
        self._directory = directory
        self._open = open_authority
        self._clock = clock
        self._counting: tuple[Generation, ...] = ()
        self._revoked: tuple[int, ...] = ()
        self.bundle = 0

    async def load(self) -> None:
        """Read which CAs there are; the first is made where there is none. Raises AuthorityUnusable."""
        async with transaction(self._engine) as session:
            if not await store.generations(session):
                await asyncio.to_thread(self._open, self._directory)
                await self._set(session, 1, "active")
                await store.count_up(session, _BUNDLE)
        await self._read()

    @property
    def counting(self) -> Sequence[Generation]:
        """Those whose roots are trusted, oldest first."""
        return self._counting

    @property
    def active(self) -> Authority:
        """The one that signs."""
        return self._in("active").authority

    @property
    def bundle_pem(self) -> bytes:
        """The roots that count in this deployment."""
        return b"".join(generation.authority.bundle_pem for generation in self._counting)

    @property
    def tainted(self) -> tuple[str, ...]:
        """Key ids of the roots whose leaves are to be replaced at once."""
        return tuple(one.root_key_id for one in self._counting if one.state == "tainted")

    @property
    def certificates(self) -> list[x509.Certificate]:
        """Issuing CA and roots, for EST ``cacerts``."""
        own = self.active.certificates
        return [*own, *(one.authority.root for one in self._counting if one.authority.root not in own)]

    @property
    def issuers(self) -> list[Issuer]:
        """Every issuing CA that counts, that of the moment first."""
        ordered = sorted(self._counting, key=lambda one: one.state != "active")
        return [issuer for one in ordered for issuer in one.authority.issuers]

    @property
    def issuer_ids(self) -> tuple[str, ...]:
        return tuple(issuer.key_id for issuer in self.issuers)

    @property
    def next_step(self) -> Step:
        for one in self._counting:
            if one.state in _NEXT:
                return _NEXT[one.state]
        return "prepare"

    def number_of(self, issuer: str) -> int | None:
        """The generation of an issuing CA that counts, by its key id."""
        found = (one.number for one in self._counting if issuer in {each.key_id for each in one.authority.issuers})
        return next(found, None)

    def issue(self, identity: str, key: LeafKey, grant: Grant) -> Leaf:
        """As ``Authority.issue``, by the one that is active."""
        return self.active.issue(identity, key, grant)

    async def take(self, step: Step) -> int:
        """Take the next step; answers the number of the generation it is about. Whether it is safe is not asked here.

        Raises StepRefused when another step is the next one, or the next root is not there yet.
        """
        if step != self.next_step:
            raise StepRefused(f"{step} is not the next step of a rotation, {self.next_step} is")
        number = self._counting[-1].number + 1 if step == "prepare" else self._in_turn(step).number
        if step == "prepare":
            number = max(number, *(revoked + 1 for revoked in self._revoked), 2)
            await self._make(number)
        async with transaction(self._engine) as session:
            match step:
                case "prepare":
                    await self._set(session, number, "prepared")
                case "activate":
                    await self._set(session, self._in("active").number, "retiring")
                    await self._set(session, number, "active")
                case "taint":
                    await self._set(session, number, "tainted")
                case "revoke":
                    await self._set(session, number, "revoked")
            if step != "activate":  # which changes who signs, and nothing that the others must know
                await store.count_up(session, _BUNDLE)
        await self._read()
        _log.info("step of a CA rotation taken", step=step, generation=number, bundle=self.bundle)
        return number

    async def _make(self, number: int) -> None:
        """Make the next CA, or take over the one that was brought or that an offline root signed meanwhile."""
        try:
            await asyncio.to_thread(self._open, self._folder(number))  # RSA keys take seconds, tokens may be far
        except AuthorityUnusable as error:
            raise StepRefused(f"the next CA is not there: {error.detail}") from None

    def ends(self) -> datetime:
        """When the root of the oldest generation that counts ends."""
        return self._counting[0].authority.root.not_valid_after_utc

    def begins(self) -> datetime:
        """When it was made; what it says is earlier, for peers whose clock is behind."""
        return self._counting[0].authority.root.not_valid_before_utc + _BACKDATED

    async def _read(self) -> None:
        async with transaction(self._engine) as session:
            rows = await store.generations(session)
            bundle = await store.counted(session, _BUNDLE)
        opened = {one.number: one.authority for one in self._counting}
        for row in rows:
            if row.number not in opened and row.state != "revoked":
                opened[row.number] = await asyncio.to_thread(self._open, self._folder(row.number))
        self._revoked = tuple(row.number for row in rows if row.state == "revoked")
        self._counting = tuple(
            Generation(row.number, _state(row.state), opened[row.number]) for row in rows if row.state != "revoked"
        )
        self.bundle = bundle

    async def _set(self, session: AsyncSession, number: int, state: CaState) -> None:
        await store.set_generation(session, number, state, int(self._clock.time()))

    def _folder(self, number: int) -> Path:
        return self._directory if number == 1 else self._directory / f"ca-{number}"

    def _in_turn(self, step: Step) -> Generation:
        return self._in(next(state for state, following in _NEXT.items() if following == step))

    def _in(self, state: CaState) -> Generation:
        found = next((one for one in self._counting if one.state == state), None)
        if found is None:
            raise AuthorityUnusable(f"there is no {state} CA in the database: restore it together with CA_DIR")
        return found


def fingerprint(certificate: x509.Certificate) -> str:
    """``sha256:<hex>`` of a certificate."""
    return f"sha256:{certificate.fingerprint(_SHA256).hex()}"


def _state(text: str) -> CaState:
    return next(state for state in _STATES if state == text)
