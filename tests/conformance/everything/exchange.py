"""One request of a client, and what its handler may do before it answers: ask the client, log, report progress.

A handler asks in one way, ``await exchange.ask(...)``, and each era gets what is its own. A legacy client is sent
requests on the stream of its call. A modern client gets ``input_required`` and calls again: the handler then runs
from the top, and what was answered already, in this round or (sealed in ``requestState``) in earlier ones, is
there at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.connection import allowed_log_levels
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    INVALID_REQUEST,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitationCapability,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequest,
    InputResponse,
    InputResponses,
    ListRootsRequest,
    ListRootsResult,
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    RootsCapability,
    SamplingCapability,
    UrlElicitationCapability,
)
from pydantic import TypeAdapter

from everything.world import Context, World, is_modern, session_id

_ANSWERS = TypeAdapter[InputResponses](InputResponses)
_LEVELS: tuple[LoggingLevel, ...] = (
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency",
)  # fmt: skip


class InputNeeded(Exception):
    """The request cannot be answered before the client has answered these; ``state`` comes back with its retry."""

    def __init__(self, requests: dict[str, InputRequest], state: str | None) -> None:
        super().__init__(f"the client has to answer {', '.join(requests)}")
        self.requests = requests
        self.state = state


@dataclass
class Exchange:
    """A request being handled; ``answers`` are those the client has given so far, by their keys."""

    context: Context
    world: World
    arguments: Mapping[str, Any]
    answers: dict[str, InputResponse] = field(default_factory=dict[str, InputResponse])

    @classmethod
    def begin(
        cls,
        context: Context,
        world: World,
        arguments: Mapping[str, Any] | None,
        given: InputResponses | None,
        state: str | None,
    ) -> "Exchange":
        """``state`` was verified and opened by the SDK's boundary: it is what ``ask`` remembered."""
        remembered = {} if state is None else _ANSWERS.validate_python(json.loads(state))
        return cls(context, world, arguments or {}, {**remembered, **(given or {})})

    @property
    def capabilities(self) -> ClientCapabilities:
        """What the client says it can do; nothing when it says nothing."""
        return self.context.session.client_capabilities or ClientCapabilities()

    async def ask(
        self, requests: Mapping[str, InputRequest], *, stateful: bool = False, trusting: bool = False
    ) -> dict[str, InputResponse]:
        """What the client answers to each.

        With ``stateful`` the client gets a ``requestState`` to bring back even when nothing has to be remembered.
        With ``trusting`` a legacy client is asked without a look at what it declared, as old servers do.
        """
        modern = is_modern(self.context)
        if modern or not trusting:
            for request in requests.values():
                self._require(_needed(request))
        if not modern:
            return await self._ask_now(requests)
        missing = {key: request for key, request in requests.items() if not _fits(request, self.answers.get(key))}
        if missing:
            kept = {key: answer for key, answer in self.answers.items() if key not in requests}
            state = json.dumps(_ANSWERS.dump_python(kept, mode="json", by_alias=True, exclude_none=True))
            raise InputNeeded(missing, state if stateful or kept else None)
        return {key: self.answers[key] for key in requests}

    async def log(self, level: LoggingLevel, data: object) -> None:
        """A log message on the stream of this request, if the client wants this level."""
        least = self.world.levels.get(session_id(self.context), "debug")
        allowed = allowed_log_levels(self.context.protocol_version, dict(self.context.meta or {}))
        if level in allowed and _LEVELS.index(level) >= _LEVELS.index(least):
            params = LoggingMessageNotificationParams(level=level, data=data, logger="everything")
            await self.context.session.send_notification(
                LoggingMessageNotification(params=params), related_request_id=self.context.request_id
            )

    async def progress(self, progress: float, total: float, message: str) -> None:
        """Progress on the stream of this request, if the client gave a token for it."""
        await self.context.session.report_progress(progress, total, message)

    def _require(self, needed: ClientCapabilities) -> None:
        if self.context.session.check_client_capability(needed):
            return
        names = needed.model_dump(mode="json", by_alias=True, exclude_none=True)
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY if is_modern(self.context) else INVALID_REQUEST,
            f"the client did not declare {', '.join(names)}",
            {"requiredCapabilities": names},
        )

    async def _ask_now(self, requests: Mapping[str, InputRequest]) -> dict[str, InputResponse]:
        answers: dict[str, InputResponse] = {}

        async def one(key: str, request: InputRequest) -> None:
            metadata = ServerMessageMetadata(related_request_id=self.context.request_id)
            answers[key] = await self.context.session.send_request(request, _answer_to(request), metadata=metadata)

        if len(requests) == 1:
            for key, request in requests.items():
                await one(key, request)
            return answers
        async with anyio.create_task_group() as group:
            for key, request in requests.items():
                group.start_soon(one, key, request)
        return answers


def _answer_to(request: InputRequest) -> type[CreateMessageResult] | type[ListRootsResult] | type[ElicitResult]:
    match request:
        case CreateMessageRequest():
            return CreateMessageResult
        case ListRootsRequest():
            return ListRootsResult
        case ElicitRequest():
            return ElicitResult


def _needed(request: InputRequest) -> ClientCapabilities:
    match request:
        case CreateMessageRequest():
            return ClientCapabilities(sampling=SamplingCapability())
        case ListRootsRequest():
            return ClientCapabilities(roots=RootsCapability())
        case ElicitRequest(params=ElicitRequestURLParams()):
            return ClientCapabilities(elicitation=ElicitationCapability(url=UrlElicitationCapability()))
        case ElicitRequest():
            return ClientCapabilities(elicitation=ElicitationCapability())


def _fits(request: InputRequest, answer: InputResponse | None) -> bool:
    """Whether an answer is of the kind that was asked for, and holds what a form requires."""
    match request, answer:
        case ElicitRequest(params=ElicitRequestFormParams() as form), ElicitResult(action="accept", content=content):
            return set(form.requested_schema.get("required", ())) <= set(content or {})
        case ElicitRequest(), ElicitResult():
            return True
        case ListRootsRequest(), ListRootsResult():
            return True
        case CreateMessageRequest(), answer:
            return answer is not None and not isinstance(answer, ElicitResult | ListRootsResult)
        case _:
            return False
