"""A bound on what may be sent, held before anything of it is parsed."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interlock_common import problem
from interlock_common.errors import TooLarge
from interlock_gateway.rest.problems import respond

MAX_BODY_BYTES = 1024 * 1024
MAX_DOCUMENT_BYTES = 6 * 1024 * 1024
"""Of a body that holds a whole configuration, or an OpenAPI document as a text in JSON."""


class BoundedBodies:
    """Reads a body of bounded size and hands it on whole; a longer one is answered with 413.

    Paths that ``documents`` matches take more.
    """

    def __init__(self, app: ASGIApp, documents: re.Pattern[str]) -> None:
        self._app = app
        self._documents = documents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = MAX_DOCUMENT_BYTES if self._documents.fullmatch(scope["path"]) else MAX_BODY_BYTES
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        body = None if _over(length, limit) else await _read(receive, limit)
        if body is None:
            error = TooLarge(f"a body is at most {limit} bytes", limit=limit)
            await respond(problem.problem_of(error), {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)


async def _read(receive: Receive, limit: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)  # gone already; whatever is answered reaches nobody
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _over(length: bytes, limit: int) -> bool:
    return length.isdigit() and (len(length) > len(str(limit)) or int(length) > limit)


def _replayed(body: bytes, receive: Receive) -> Receive:
    first = True

    async def replay() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
