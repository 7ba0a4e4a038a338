"""The administrator's token of an embedded stack: made at the first start, kept while it counts."""

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from interlock_cli.environment import ADMINISTRATOR, Placement
from interlock_cli.errors import CommandError
from interlock_cli.ports import HOST
from interlock_cli.probing import Answer, ask
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.tls import write_atomically

_LIFETIME = 30 * 86400
_LEAST_LEFT = 86400


class Administration:
    """What the administrator asks of the gateway over REST; every call blocks."""

    def __init__(self, placement: Placement, email: str = ADMINISTRATOR, clock: Clock = SYSTEM_CLOCK) -> None:
        self._placement = placement
        self._email = email
        self._clock = clock

    def token(self) -> str:
        """The kept token where it still counts for a day, else a new one, which is kept."""
        path = self._placement.state.token_file
        kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if kept and self._seconds_left(kept) > _LEAST_LEFT and self._is_accepted(kept):
            return kept
        fresh = self._create()
        write_atomically(path, fresh.encode(), private=True)
        return fresh

    def _create(self) -> str:
        password = self._placement.state.admin_password.read_text(encoding="utf-8")
        session = self._demand("POST", "/auth/login", {"email": self._email, "password": password}, None)
        name = f"interlock up {self._clock.now():%Y-%m-%d %H:%M:%S}"
        body = {"name": name, "lifetime": _LIFETIME}
        return str(self._demand("POST", "/tokens", body, str(session["access_token"]))["token"])

    def _demand(self, method: str, path: str, body: object, token: str | None) -> dict[str, Any]:
        try:
            status, answer = self._ask(method, path, token, body)
        except OSError as error:
            raise CommandError(f"{method} {path} got no answer from the gateway: {error}") from None
        if status >= http.client.BAD_REQUEST:
            raise CommandError(f"{method} {path} was refused with {status}: {answer.get('detail', answer)}")
        return answer

    def _is_accepted(self, token: str) -> bool:
        try:
            status, _ = self._ask("GET", "/tokens", token)
        except OSError:
            return False
        return status == http.client.OK

    def _ask(self, method: str, path: str, token: str | None, body: object = None) -> Answer:
        placement = self._placement
        host = urlsplit(placement.url).hostname or HOST
        return ask(placement.port, method, path, body=body, token=token, host=host, ca=placement.ca)

    def _seconds_left(self, token: str) -> float:
        """How long a token of our own says it counts; it is the gateway that verifies it."""
        try:
            payload = token.split(".")[1]
            claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return float(claims["exp"]) - self._clock.time()
        except (IndexError, ValueError, KeyError, TypeError):
            return 0.0
