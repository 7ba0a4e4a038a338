"""Every error as a problem document (RFC 9457), with the headers that belong to its status."""

from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from interlock_common import problem
from interlock_common.errors import BY_STATUS, InterlockError, InvalidInput
from interlock_gateway.rest.dependencies import public_url

_log = structlog.get_logger()
_METADATA = "/.well-known/oauth-protected-resource"
_RETRY_SECONDS = "1"


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document."""
    app.add_exception_handler(InterlockError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def respond(document: problem.Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(problem.encode(document), document.status, headers, problem.MEDIA_TYPE)


async def _known(request: Request, error: Exception) -> Response:
    if not isinstance(error, InterlockError):
        return await _unexpected(request, error)
    return respond(problem.problem_of(error), _headers(request, error))


def _headers(request: Request, error: InterlockError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
        # RFC 6750, section 3.1: no error code where no credential was presented.
        presented = "authorization" in request.headers
        reason = f'error="invalid_token", error_description="{_quoted(error.detail)}", ' if presented else ""
        headers["WWW-Authenticate"] = f'Bearer {reason}resource_metadata="{public_url(request)}{_METADATA}"'
    elif error.code == "insufficient_scope":
        scope = _quoted(str(error.fields.get("scope", "")))
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{scope}"'
    if error.status in {429, 503}:
        headers["Retry-After"] = str(error.fields.get("retry_after", _RETRY_SECONDS))
    return headers


def _quoted(text: str) -> str:
    """Text that is fit for a quoted string of a header (RFC 9110, section 5.6.4)."""
    return "".join(c for c in text if c.isascii() and c.isprintable() and c not in '"\\')


async def _invalid(_request: Request, error: Exception) -> Response:
    """What was sent does not fit; the fields are named, the values are not repeated."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    problems = [{"field": _field(each), "problem": str(each.get("msg", ""))} for each in found]
    detail = "; ".join(f"{each['field']}: {each['problem']}" for each in problems[:5])
    return respond(problem.problem_of(InvalidInput(detail or "the request does not fit", errors=problems)))


def _field(each: Any) -> str:
    where = [str(part) for part in each.get("loc", ())]
    if each.get("type") == "json_invalid":
        return "body"
    return ".".join(where[1:] if len(where) > 1 else where)


async def _http(_request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: unknown paths, wrong methods, bodies that are no JSON."""
    if not isinstance(error, HTTPException):
        return respond(problem.UNEXPECTED)
    kind = BY_STATUS.get(error.status_code)
    code = kind.code if kind is not None else {405: "method_not_allowed"}.get(error.status_code, "refused")
    document = problem.Problem(
        type=f"urn:interlock:error:{code}",
        title=code.replace("_", " "),
        status=error.status_code,
        detail=str(error.detail).lower(),
    )
    return respond(document, dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("request failed unexpectedly", path=request.url.path, error=type(error).__name__)
    return respond(problem.UNEXPECTED)
