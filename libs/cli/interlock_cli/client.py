"""The gateway's REST API as the command uses it: where it is, who asks, and its refusals as sentences.

The address and the token come from options, else from ``INTERLOCK_URL`` and ``INTERLOCK_TOKEN``, else from
``endpoint.json`` in the state folder of a running stack: ``{"url": …, "token_file": …, "ca": …}``.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx
import msgspec

from interlock_cli.errors import CommandError, NotRunning, StateUnusable
from interlock_cli.state import read_json
from interlock_cli.trusting import trust
from interlock_common.problem import MEDIA_TYPE, Problem

_TIMEOUT = 15.0
_SLOW = 330.0
"""Longer than the gateway takes for an import."""
_MAX_PAGES = 10_000


class Refused(CommandError):
    """The gateway answered that it will not."""

    exit_code: ClassVar[int] = 6


class NotThere(CommandError):
    """There is no such thing, or the caller may not know that there is."""

    exit_code: ClassVar[int] = 7


class RuleBroken(CommandError):
    """What was asked breaks a rule, which the sentence names."""

    exit_code: ClassVar[int] = 8


class Unexpected(CommandError):
    """The gateway answered with an error, or with something else than its API."""


@dataclass(frozen=True)
class Endpoint:
    """Where the gateway is and how to be let in; ``ca`` is a PEM file to trust beside the system's."""

    url: str
    token: str
    ca: Path | None = None


def find_endpoint(url: str | None, token: str | None, state: Path) -> Endpoint:
    """The endpoint that options and environment name, completed from the state folder."""
    if url and token:
        return Endpoint(url.rstrip("/"), token)
    file = state / "endpoint.json"
    if not file.exists():
        missing = "--url" if not url else "--token"
        raise NotRunning(f"no stack runs in {state}: start one with `interlock up`, or give {missing}")
    kept = read_json(file)
    ca = Path(str(kept["ca"])) if kept.get("ca") else None
    return Endpoint((url or str(kept.get("url", ""))).rstrip("/"), token or _token(kept), ca)


def _token(kept: dict[str, object]) -> str:
    path = Path(str(kept.get("token_file", "")))
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StateUnusable(f"the token in {path} cannot be read: {error.strerror}") from None


class Client:
    """A connection to the gateway; a context manager."""

    def __init__(self, endpoint: Endpoint, transport: httpx.BaseTransport | None = None) -> None:
        self._url = endpoint.url
        self._token = endpoint.token
        self._http = httpx.Client(
            base_url=endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.token}"},
            timeout=_TIMEOUT,
            verify=trust(endpoint.ca),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        """The gateway's, without a path."""
        return self._url

    @property
    def token(self) -> str:
        return self._token

    def get[T](self, path: str, answer_kind: type[T], /, **query: Any) -> T:
        """The answer to ``GET path``; parameters that are None are left out."""
        return self._decoded(path, self._answer("GET", path, query), answer_kind)

    def send[T](
        self, method: str, path: str, answer_kind: type[T], body: object = None, /, *, slow: bool = False, **query: Any
    ) -> T:
        """The answer to a request that changes something; a body of bytes is sent as YAML, any other as JSON."""
        answer = self._answer(method, path, query, body, _SLOW if slow else _TIMEOUT)
        return self._decoded(path, answer, answer_kind)

    def text(self, path: str, /, **query: Any) -> str:
        """The answer to ``GET path``, whatever it is."""
        return self._answer("GET", path, query).text

    def text_of(self, method: str, path: str, /) -> str:
        """The answer to a request that changes something, whatever it is."""
        return self._answer(method, path, {}).text

    def pages[T](self, path: str, item_kind: type[T], /, **query: Any) -> list[T]:
        """All items of a list, page by page as its ``Link`` headers lead (RFC 8288)."""
        found: list[T] = []
        for _ in range(_MAX_PAGES):
            answer = self._answer("GET", path, query)
            found += self._decoded(path, answer, list[item_kind])
            following = answer.links.get("next", {}).get("url")
            if following is None:
                return found
            query = dict(httpx.URL(following).params)
        raise Unexpected(f"{path} has more than {_MAX_PAGES} pages")

    def _answer(
        self, method: str, path: str, query: dict[str, Any], body: object = None, timeout: float = _TIMEOUT
    ) -> httpx.Response:
        wanted = {name: value for name, value in query.items() if value is not None}
        headers, content = {}, None
        if isinstance(body, bytes):
            headers, content = {"Content-Type": "application/yaml"}, body
        elif body is not None:
            headers, content = {"Content-Type": "application/json"}, msgspec.json.encode(body)
        try:
            answer = self._http.request(method, path, params=wanted, headers=headers, content=content, timeout=timeout)
        except httpx.TransportError as error:
            raise NotRunning(f"{self._url} does not answer: {error or type(error).__name__}") from None
        if answer.is_error:
            raise _refusal(path, answer)
        return answer

    def _decoded[T](self, path: str, answer: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError:
            raise Unexpected(f"{self._url}{path} answers something else than Interlock's API") from None


_KINDS: dict[int, type[CommandError]] = {
    401: Refused, 403: Refused, 404: NotThere, 400: RuleBroken, 409: RuleBroken, 413: RuleBroken, 422: RuleBroken,
}  # fmt: skip


def _refusal(path: str, answer: httpx.Response) -> CommandError:
    detail = f"{path} answers {answer.status_code}"
    if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        try:
            problem = msgspec.json.decode(answer.content, type=Problem)
            detail = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
        except msgspec.DecodeError:
            pass
    return _KINDS.get(answer.status_code, Unexpected)(detail)
