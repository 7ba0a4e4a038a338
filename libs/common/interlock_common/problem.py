"""RFC 9457 problem documents: how an error looks on REST and in an error reply on the bus."""

from typing import Any

import msgspec

from interlock_common.errors import BY_STATUS, InterlockError

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457, section 3); ``type`` is a URN made of the error's code."""

    type: str
    title: str
    status: int
    detail: str = ""
    fields: dict[str, Any] = {}


def problem_of(error: InterlockError) -> Problem:
    """The document that tells ``error`` to whoever asked."""
    return Problem(
        type=f"urn:interlock:error:{error.code}",
        title=error.code.replace("_", " "),
        status=error.status,
        detail=error.detail,
        fields=error.fields,
    )


UNEXPECTED = Problem(type="urn:interlock:error:internal", title="internal", status=500, detail="unexpected failure")
"""What a caller learns of an error nobody foresaw; the log of the service has the rest."""


def encode(problem: Problem) -> bytes:
    return msgspec.json.encode(problem)


def error_of(body: bytes) -> InterlockError:
    """The error that a problem document of another service tells, as the matching class of ours."""
    problem = msgspec.json.decode(body, type=Problem)
    kind = BY_STATUS.get(problem.status, InterlockError)
    error = kind(problem.detail or problem.title, **problem.fields)
    code = problem.type.removeprefix("urn:interlock:error:")
    if code != kind.code:  # keep the finer code of the service that refused
        error.__class__ = type(kind.__name__, (kind,), {"code": code})
    return error
