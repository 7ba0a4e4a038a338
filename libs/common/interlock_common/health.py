"""The small listener on which a process says whether it lives and whether it may take work.

``GET /health`` answers ``{"status": "healthy"}`` as long as the process can do its work at all; ``GET /ready``
answers 503 with the reasons while something it needs is away. ``python -m interlock_common.health`` asks
``/health`` of the listener that ``HEALTH_PORT`` names, for container health checks.
"""

import os
import sys
import urllib.request
from collections.abc import Callable

from aiohttp import web

from interlock_common.errors import ConfigurationError

type Check = Callable[[], str | None]
"""Answers why the thing it looks at is not well, or None when it is."""

_PROBE_TIMEOUT = 5.0


class Health:
    """The checks of one process and the listener that tells their verdict."""

    def __init__(self, service: str, host: str, port: int) -> None:
        self._service = service
        self._host = host
        self.port = port
        self._alive: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}
        self._runner: web.AppRunner | None = None

    def alive_when(self, name: str, check: Check) -> None:
        """Without this the process should be replaced: both answers depend on it."""
        self._alive[name] = check

    def ready_when(self, name: str, check: Check) -> None:
        """Without this the process should get no work for now."""
        self._ready[name] = check

    def problems(self) -> dict[str, str]:
        """What keeps the process from taking work, by the name of the check; empty when it is ready."""
        return _failed({**self._alive, **self._ready})

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._readiness)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"HEALTH_PORT {self.port} on {self._host} cannot be used: {error.strerror}"
            ) from None
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return self._answer("healthy", "unhealthy", _failed(self._alive))

    async def _readiness(self, _request: web.Request) -> web.Response:
        return self._answer("ready", "not ready", self.problems())

    def _answer(self, good: str, bad: str, problems: dict[str, str]) -> web.Response:
        body = {"status": bad if problems else good, "service": self._service, "problems": problems}
        return web.json_response(body, status=503 if problems else 200)


def _failed(checks: dict[str, Check]) -> dict[str, str]:
    return {name: reason for name, check in checks.items() if (reason := check()) is not None}


def probe(url: str) -> int:
    """0 when ``url`` answers 200, else 1 with the reason on standard error."""
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_TIMEOUT) as answer:  # noqa: S310 - the address is the operator's
            return 0 if answer.status == 200 else 1  # noqa: PLR2004
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else f"http://127.0.0.1:{os.environ.get('HEALTH_PORT', '')}/health"
    sys.exit(probe(address))
