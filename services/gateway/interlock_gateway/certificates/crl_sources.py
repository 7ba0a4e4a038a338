"""Where the CRLs come from: files, read as they change, and URLs, fetched again and again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError, InterlockError
from interlock_gateway.certificates.crls import MAX_BYTES, Crl, Crls, read_crl
from interlock_gateway.certificates.fetching import Fetcher, check_url
from interlock_gateway.certificates.following import Followed, read_bounded
from interlock_gateway.certificates.issuers import Issuers

_log = structlog.get_logger()
SETTING = "CLIENT_CRL"
_FIRST_AGAIN = 5.0
"""Seconds after which a URL that failed is tried again."""


class CrlSources:
    """The sources of one edge; ``changed`` is called when a list was taken."""

    def __init__(
        self, text: str, crls: Crls, issuers: Issuers, fetcher: Fetcher, clock: Clock, *, refresh: float,
        changed: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._crls = crls
        self._issuers = issuers
        self._fetcher = fetcher
        self._clock = clock
        self._refresh = refresh
        self.changed = changed
        named = [part.strip() for part in text.split(",") if part.strip()]
        self._urls = [name for name in named if "://" in name]
        for url in self._urls:
            check_url(SETTING, url)
        self._files = [self._followed(Path(name)) for name in named if "://" not in name]

    async def follow(self) -> None:
        """Keep every list current, for ever."""
        async with asyncio.TaskGroup() as group:
            for file in self._files:
                group.create_task(file.follow())
            for url in self._urls:
                group.create_task(self._fetch_again_and_again(url))

    async def fetch(self, url: str) -> bool:
        """Get one list; whether it could be used."""
        try:
            content = await self._fetcher.get(url, MAX_BYTES)
            crl = await asyncio.to_thread(read_crl, content, self._issuers, url)
        except InterlockError as error:
            _log.error("a CRL cannot be used: the one before still counts, until it ends", reason=error.detail)
            return False
        self._take(crl)
        return True

    def _followed(self, path: Path) -> Followed:
        def load() -> Crl:
            return read_crl(read_bounded(path, SETTING, MAX_BYTES), self._issuers, str(path))

        return Followed((path,), load, self._take, self._clock)

    def _take(self, crl: Crl) -> None:
        if not self._crls.take(crl):
            _log.error("a CRL is older than the one before, and is not taken", issuer=crl.issuer, number=crl.number)
            return
        _log.info("CRL taken", issuer=crl.issuer, number=crl.number, revoked=len(crl.revoked))
        self.changed()

    async def _fetch_again_and_again(self, url: str) -> None:
        while True:
            taken = await self.fetch(url)
            await self._clock.sleep(self._refresh if taken else min(_FIRST_AGAIN, self._refresh))


def require_issuers(issuers_known: bool, setting: str) -> None:  # noqa: FBT001 - said by its name
    """Raise ConfigurationError where nobody could say whether a list, or an answer, is of the CA."""
    if not issuers_known:
        raise ConfigurationError(f"{setting} needs the CAs of clients: set CA_CERTS, or CLIENT_CA_CERTS behind a proxy")
