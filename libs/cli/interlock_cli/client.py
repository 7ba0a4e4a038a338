"""The gateway's REST API as the command uses it: where it is, who asks, and its refusals as sentences.

The address and the token come from options, else from ``INTERLOCK_URL`` and ``INTERLOCK_TOKEN``, else from
``endpoint.json`` in the state folder of a running stack: ``{"url": …, "token_file": …, "ca": …}``.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx
import msgspec

from interlock_cli.errors import CommandError, NotRunning, StateUnusable
from interlock_cli.state import read_json
from interlock_common.problem import MEDIA_TYPE, Problem

_TIMEOUT = 15.0
_UNAUTHENTICATED = 401
_FORBIDDEN = 403


class Refused(CommandError):
    """The gateway answered that it will not."""

    exit_code: ClassVar[int] = 6


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
        verify = ssl.create_default_context()
        if endpoint.ca is not None:
            verify.load_verify_locations(endpoint.ca)
        self._url = endpoint.url
        self._http = httpx.Client(
            base_url=endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.token}"},
            timeout=_TIMEOUT,
            verify=verify,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get[T](self, path: str, answer_kind: type[T], /, **query: Any) -> T:
        """The answer to ``GET path``; parameters that are None are left out."""
        wanted = {name: value for name, value in query.items() if value is not None}
        try:
            answer = self._http.get(path, params=wanted)
        except httpx.TransportError as error:
            raise NotRunning(f"{self._url} does not answer: {error or type(error).__name__}") from None
        if answer.is_error:
            raise _refusal(path, answer)
        try:
            return msgspec.json.decode(answer.content, type=answer_kind)
        except msgspec.DecodeError:
            raise Unexpected(f"{self._url}{path} answers something else than Interlock's API") from None


def _refusal(path: str, answer: httpx.Response) -> CommandError:
    detail = f"{path} answers {answer.status_code}"
    if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        try:
            problem = msgspec.json.decode(answer.content, type=Problem)
            detail = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
        except msgspec.DecodeError:
            pass
    kind = Refused if answer.status_code in {_UNAUTHENTICATED, _FORBIDDEN} else Unexpected
    return kind(detail)
