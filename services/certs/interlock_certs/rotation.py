"""Rotating the CA while everything runs: prepare, activate, taint, revoke; no step before it is safe.

After *prepare* everybody trusts the next root as well; *activate* has it sign; *taint* has everybody replace the
leaves of the old one; *revoke* takes the old root out of the bundle. What the bus and the others must know is applied
after each step, and again until it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from interlock_certs.errors import StepRefused
from interlock_certs.gathering import Gathered
from interlock_certs.generations import Generations
from interlock_certs.peers import Peers, named, showing_other_than, unconfirmed
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, PermissionDenied
from interlock_common.messages.certs import AuthorityStatus, Peer, RotateAuthority, Step
from interlock_common.messages.common import Actor

_log = structlog.get_logger()
PERMISSION = "admin.system_config"
_READING = "admin.security_audit"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
_DUE_SHARE = 2 / 3
_LONGEST_NAP = 60.0
_NAPS = 60
_AUTOMATIC = Actor("certs", is_admin=True)


class Announcer(Protocol):
    """Who is told of each step; ``bus.py`` tells the bus and the audit log."""

    async def rotated(self, actor: Actor, step: Step, generation: int, bundle: int) -> None: ...
    async def step_refused(self, actor: Actor, step: Step, reason: str) -> None: ...


class Rotation:
    """The steps, one at a time; ``apply`` brings everything into line with the generations of the moment."""

    def __init__(
        self,
        generations: Generations,
        peers: Peers,
        apply: Callable[[], Awaitable[None]],
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._generations = generations
        self._peers = peers
        self._apply = Gathered(apply)
        self._announcer = announcer
        self._clock = clock
        self._steps = asyncio.Lock()
        self._unapplied = asyncio.Event()

    async def asked(self, actor: Actor) -> AuthorityStatus:
        """``status``, for those who may see who is on the bus."""
        if not actor.may(PERMISSION) and not actor.may(_READING):
            raise PermissionDenied(f"looking at the CA needs the permission {PERMISSION} or {_READING}")
        return await self.status()

    async def status(self) -> AuthorityStatus:
        """The CAs, who follows, and what the next step waits for."""
        peers = await self._peers.listing()
        step = self._generations.next_step
        return AuthorityStatus(
            generations=tuple(one.described() for one in self._generations.counting),
            bundle=self._generations.bundle,
            peers=tuple(peers),
            next_step=step,
            waiting_for=tuple(self._waiting_for(step, peers)),
        )

    async def take(self, request: RotateAuthority) -> AuthorityStatus:
        """Take a step. Raises StepRefused with the names of those who are not ready for it."""
        if not request.actor.may(PERMISSION):
            raise PermissionDenied(f"rotating the CA needs the permission {PERMISSION}")
        async with self._steps:
            try:
                await self._check(request.step)
                generation = await self._generations.take(request.step)
            except StepRefused as error:
                await self._announcer.step_refused(request.actor, request.step, error.detail)
                raise
            self._unapplied.set()
            await self._announcer.rotated(request.actor, request.step, generation, self._generations.bundle)
        await self._applied()
        return await self.status()

    async def keep_applied(self) -> None:
        """Apply, for ever, what could not be applied when its step was taken."""
        pause = _FIRST_PAUSE
        while True:
            await self._unapplied.wait()
            try:
                await self._applied()
                pause = _FIRST_PAUSE
            except (InterlockError, SQLAlchemyError, OSError) as error:
                reason = error.detail if isinstance(error, InterlockError) else type(error).__name__
                _log.warning("step of a CA rotation not applied yet", reason=reason)
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)

    async def keep_rotating(self) -> None:
        """Take the steps by itself, for ever, when two thirds of the lifetime of the oldest root are over."""
        waiting = ""
        while True:
            if self._is_due():
                try:
                    await self.take(RotateAuthority(_AUTOMATIC, self._generations.next_step))
                    waiting = ""
                except (InterlockError, SQLAlchemyError, OSError) as error:
                    reason = error.detail if isinstance(error, InterlockError) else type(error).__name__
                    if reason != waiting:  # said once for each reason, not with every attempt
                        _log.warning("the root is due and cannot be rotated yet", reason=reason)
                    waiting = reason
            await self._clock.sleep(self._nap())

    def _is_due(self) -> bool:
        generations = self._generations
        lifetime = generations.ends() - generations.begins()
        return self._clock.now() >= generations.begins() + lifetime * _DUE_SHARE

    def _nap(self) -> float:
        lifetime = self._generations.ends() - self._generations.begins()
        return min(_LONGEST_NAP, lifetime.total_seconds() / _NAPS)

    async def _applied(self) -> None:
        self._unapplied.clear()
        try:
            await self._apply()
        except BaseException:
            self._unapplied.set()
            raise

    async def _check(self, step: Step) -> None:
        if step != self._generations.next_step:
            raise StepRefused(f"{step} is not the next step of a rotation, {self._generations.next_step} is")
        if self._unapplied.is_set():
            raise StepRefused("the step before this one is not applied everywhere yet")
        waiting = self._waiting_for(step, await self._peers.listing())
        if waiting:
            what = "still show a leaf of the old CA" if step == "revoke" else "have not confirmed the trust bundle"
            raise StepRefused(f"{step} is not safe yet: {named(waiting)} {what}")

    def _waiting_for(self, step: Step, peers: Sequence[Peer]) -> Sequence[str]:
        bundle = self._generations.bundle
        if step != "revoke":
            return unconfirmed(peers, bundle)
        active = next(one.number for one in self._generations.counting if one.state == "active")
        return list(dict.fromkeys([*unconfirmed(peers, bundle), *showing_other_than(peers, active)]))
