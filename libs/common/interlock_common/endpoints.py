"""How a service answers a subject: decode, trace, run, reply; and never a silence where an answer is due."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from faststream.nats import NatsMessage
from faststream.nats.response import NatsResponse
from opentelemetry.trace import SpanKind

from interlock_common import problem, telemetry
from interlock_common.errors import DeadlineExceeded, InterlockError, InvalidInput

TIMEOUT_HEADER = "Interlock-Timeout"
"""How many seconds the caller waits: work that nobody waits for any more is stopped."""
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"
"""The error headers of the NATS services protocol (ADR-32); the body is then a problem document."""

type Handler[Req] = Callable[[str, Req], Awaitable[msgspec.Struct]]

_log = structlog.get_logger()
_encode = msgspec.json.encode


class EndpointStats:
    """The figures of one endpoint, as ``$SRV.STATS`` reports them; durations in nanoseconds."""

    __slots__ = ("last_error", "num_errors", "num_requests", "processing_time")

    def __init__(self) -> None:
        self.num_requests = 0
        self.num_errors = 0
        self.processing_time = 0
        self.last_error = ""


class Endpoint[Req]:
    """One subject that a service answers; ``workers`` requests at a time in each process."""

    def __init__(self, subject: str, request: type[Req], handler: Handler[Req], workers: int) -> None:
        self.subject = subject
        self.workers = workers
        self.stats = EndpointStats()
        self._decoder = msgspec.json.Decoder(request)
        self._handler = handler

    async def serve(self, message: NatsMessage) -> NatsResponse:
        """Answer one request; whatever goes wrong becomes an error reply, known errors with their text."""
        raw: Any = message.raw_message
        headers: dict[str, str] = raw.headers or {}
        started = time.perf_counter_ns()
        self.stats.num_requests += 1
        attributes = {telemetry.MESSAGING_SYSTEM: "nats", telemetry.MESSAGING_DESTINATION: self.subject}
        try:
            with telemetry.span(
                f"process {self.subject}",
                SpanKind.CONSUMER,
                parent=telemetry.extract(headers),
                attributes=attributes,
            ):
                reply = await self._answer(raw.subject, raw.data, headers)
            return NatsResponse(_encode(reply))
        except InterlockError as error:
            return self._refused(problem.problem_of(error), f"{error.code}: {error.detail}")
        except Exception as error:  # noqa: BLE001 - an unanswered request costs its caller a full timeout
            _log.exception("request failed unexpectedly", subject=self.subject)
            return self._refused(problem.UNEXPECTED, type(error).__name__)
        finally:
            self.stats.processing_time += time.perf_counter_ns() - started

    async def _answer(self, subject: str, body: bytes, headers: dict[str, str]) -> msgspec.Struct:
        try:
            request = self._decoder.decode(body)
            seconds = float(headers.get(TIMEOUT_HEADER, "30"))
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidInput(f"request to {self.subject} does not fit its contract: {error}") from None
        try:
            async with asyncio.timeout(seconds):
                return await self._handler(subject, request)
        except TimeoutError:
            raise DeadlineExceeded(f"{self.subject} did not finish within {seconds:g} s") from None

    def _refused(self, document: problem.Problem, reason: str) -> NatsResponse:
        self.stats.num_errors += 1
        self.stats.last_error = reason
        headers = {ERROR_HEADER: document.title, ERROR_CODE_HEADER: str(document.status)}
        return NatsResponse(problem.encode(document), headers=headers)
