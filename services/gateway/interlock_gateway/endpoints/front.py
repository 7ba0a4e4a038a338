"""What every MCP request over HTTP goes through: who calls, from which page, and how it is refused."""

import asyncio
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress
from dataclasses import dataclass

import structlog

from interlock_common.errors import InterlockError
from interlock_gateway import jsonrpc
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.certificates.shown import fingerprint_of, shown_by
from interlock_gateway.client_address import client_address
from interlock_gateway.endpoints.refusals import as_rpc, challenge, check_origin
from interlock_gateway.endpoints.reply import Gone
from interlock_gateway.endpoints.requests import McpRequest
from interlock_gateway.errors import TokenRevoked
from interlock_gateway.guard.rate_limits import COUNTED, RateLimited, RateLimits
from interlock_gateway.jsonrpc import INTERNAL_ERROR, RpcError
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.recording import Recorder
from interlock_gateway.routing import Catalog

_log = structlog.get_logger()

type Work = Callable[[McpRequest, Caller], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HttpFront:
    """The front door of every MCP endpoint over HTTP."""

    catalog: Catalog
    authenticator: Authenticator
    live: LiveWork
    recorder: Recorder
    origins: Container[str]
    max_body: int
    public_url: str
    limits: RateLimits

    async def serve(self, request: McpRequest, work: Work) -> None:
        """Authenticate, do the ``work``, and refuse in the words of JSON-RPC whatever goes wrong."""
        await self.guarded(request, lambda: self._admit(request, work))

    async def guarded(self, request: McpRequest, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part of the work; whatever goes wrong becomes the answer."""
        try:
            await work()
        except RpcError as error:
            await self.refuse(request, error)
        except InterlockError as error:
            await self.refuse(request, as_rpc(error), error)
        except Ended:
            await self._end(request)
        except Gone:
            _log.info("the client left before its call was answered", record=request.reply.record_id)
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 - the last line: a caller learns nothing of it, the log everything
            _log.exception("mcp request failed unexpectedly", method=request.method)
            await self.refuse(request, RpcError(INTERNAL_ERROR, "unexpected failure", status=500))

    async def _admit(self, request: McpRequest, work: Work) -> None:
        check_origin(request.headers, self.origins)
        caller = request.caller = self.authenticator.caller(
            request.headers.get(b"authorization"), client_address(request.scope), request.server_id,
            shown=shown_by(request.scope),
        )  # fmt: skip
        self.count(request, caller)
        # From the very moment of the check on: a revocation must find whatever it let in.
        with self.live.on_behalf_of(caller):
            await work(request, caller)

    def count(self, request: McpRequest, caller: Caller, requests: int = 1) -> None:
        """Count what is asked on behalf of ``caller``; raises RateLimited when it is too much."""
        counted = request.scope.get(COUNTED)
        for _ in range(requests):
            self.limits.count_caller(caller.principal, caller.token_id, counted, certificate=caller.limited_as)

    async def refuse(self, request: McpRequest, error: RpcError, cause: InterlockError | None = None) -> None:
        """Record the refusal, and say it where something can still be said."""
        reply = request.reply
        if reply.finished:  # another part of the work has said it
            return
        silent = isinstance(cause, RateLimited) and not cause.noted
        if not reply.record_id and not silent:  # with an intent, its outcome says how it ended
            self.recorder.refusal(
                cause.code if cause else error.error.message,
                status=error.status,
                method=request.method or request.scope["method"],
                target=request.target,
                caller=request.caller,
                peer=request.peer,
                certificate=fingerprint_of(request.scope),
            )
        if reply.started and not reply.streaming:
            return
        oauth = self.catalog.advertises_oauth(request.server_id)
        headers = challenge(cause, request.headers, request.server_id, self.public_url, oauth=oauth)
        body = jsonrpc.failure(request.request_id, error.error)
        with suppress(Gone):
            await reply.answer(body, status=error.status, headers=headers)

    async def _end(self, request: McpRequest) -> None:
        """The token was revoked meanwhile: say so where that is still possible, and close."""
        if request.reply.streaming and request.scope["method"] == "GET":
            if not request.reply.finished:
                with suppress(Gone):
                    await request.reply.end_stream()
        else:
            cause = TokenRevoked("the token has been revoked")
            await self.refuse(request, as_rpc(cause), cause)
