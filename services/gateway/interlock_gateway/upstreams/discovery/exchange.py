"""One JSON-RPC exchange with an upstream over HTTP: bounded, and its failures told apart.

The answer may be a JSON body or an event stream; of a stream, everything before the answer is passed over.
"""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from interlock_common.errors import UpstreamFailed

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")
_EVENT_END = re.compile(rb"(?:(?>\r\n|\n|\r)){2}")  # atomic: CR LF is one line end, never two


class UpstreamUnusable(UpstreamFailed):
    """An upstream could not be talked to; ``cause`` says what kind of failure it was.

    One of: address, dns, refused, connection, tls, timeout, status, redirect, too_large, not_mcp, protocol.
    """

    code = "upstream_unusable"

    def __init__(self, detail: str, cause: str, **fields: Any) -> None:
        super().__init__(detail, cause=cause, **fields)
        self.cause = cause


class RpcError(msgspec.Struct, frozen=True):
    """The error object of JSON-RPC 2.0, section 5.1."""

    code: int
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class RpcMessage(msgspec.Struct, frozen=True):
    """The envelope of a JSON-RPC message; the result stays the bytes it was, none where there is none."""

    id: int | str | None = None
    method: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None


class Answer(msgspec.Struct, frozen=True):
    """What came back: the HTTP status, the session id if one was given, the JSON-RPC message if there was one."""

    status: int
    session_id: str | None
    message: RpcMessage | None


_envelopes = msgspec.json.Decoder(RpcMessage)


async def post(
    session: aiohttp.ClientSession,
    url: URL,
    headers: Mapping[str, str],
    body: bytes,
    request_id: int | None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """POST one message and read the answer to ``request_id`` (None for a notification, which has none).

    Raises UpstreamUnusable when there was no HTTP answer, or one that is over a bound or a redirect.
    """
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False, ssl=tls or True) as response:
            if 300 <= response.status < 400:  # noqa: PLR2004 - the class of redirects
                place = response.headers.get("Location", "")[:200]
                raise UpstreamUnusable(f"{origin(url)} redirects to {place!r}: register the address it leads to",
                                       "redirect", status=response.status)  # fmt: skip
            message = None if request_id is None else await _read(response, url, request_id)
            return Answer(response.status, response.headers.get("Mcp-Session-Id"), message)
    except (aiohttp.ClientError, ssl.SSLError, OSError, UnicodeError) as error:
        raise _explain(error, url) from None


async def end_session(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], tls: ssl.SSLContext | None = None
) -> None:
    """Tell the upstream that its session is over; whether it cares is its own business."""
    try:
        async with session.delete(url, headers=headers, allow_redirects=False, ssl=tls or True):
            pass
    except (aiohttp.ClientError, OSError):
        return


def origin(url: URL) -> str:
    """The part of an address that may be told: paths and queries can carry keys."""
    return str(url.origin())


async def _read(response: aiohttp.ClientResponse, url: URL, request_id: int) -> RpcMessage | None:
    kind = response.content_type
    if kind == "text/event-stream":
        async for data in _events(response, url):
            message = read_message(data)
            if message is not None and message.method is None and message.id == request_id:
                return message
        return None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        _bounded(len(body), url)
    return read_message(bytes(body)) if kind == "application/json" else None


async def _events(response: aiohttp.ClientResponse, url: URL) -> AsyncIterator[bytes]:
    """The data of each server-sent event (HTML Living Standard, section 9.2.6)."""
    buffer = bytearray()
    total = searched = 0
    async for chunk in response.content.iter_any():
        buffer += chunk
        total += len(chunk)
        _bounded(total, url)
        while (end := _EVENT_END.search(buffer, max(0, searched - 3))) is not None:
            block = bytes(buffer[: end.start()])
            del buffer[: end.end()]
            searched = 0
            lines = (line for line in _LINE_END.split(block) if line.startswith(b"data:"))
            yield b"\n".join(line[5:].removeprefix(b" ") for line in lines)
        searched = len(buffer)


def _bounded(size: int, url: URL) -> None:
    if size > MAX_ANSWER_BYTES:
        raise UpstreamUnusable(f"{origin(url)} answered more than {MAX_ANSWER_BYTES} bytes", "too_large")


def read_message(data: bytes) -> RpcMessage | None:
    """The envelope of a message; None for what is none."""
    try:
        return _envelopes.decode(data)
    except (msgspec.DecodeError, RecursionError):  # nested without end
        return None


def _explain(error: Exception, url: URL) -> UpstreamUnusable:
    detail, cause = _reason(error, url, origin(url))
    return UpstreamUnusable(detail, cause)


def _reason(error: Exception, url: URL, place: str) -> tuple[str, str]:  # noqa: PLR0911 - a table, one line a kind
    match error:
        case aiohttp.ClientConnectorDNSError() | UnicodeError():  # IDNA knows no such name
            return (f"the name {url.host} does not resolve", "dns")
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as reason):
            return (f"the certificate of {place} is not valid: {reason.verify_message}", "tls")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return (f"{place} does not complete a TLS handshake", "tls")
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return (f"{place} refuses the connection: nothing listens there", "refused")
        case TimeoutError():
            return (f"{place} did not answer in time", "timeout")
        case aiohttp.ClientConnectorError(os_error=reason):
            return (f"no connection to {place}: {reason.strerror or 'it failed'}", "connection")
        case aiohttp.ClientResponseError():
            return (f"{place} does not answer in HTTP", "not_mcp")
        case _:
            return (f"{place} closed the connection before it had answered", "connection")
