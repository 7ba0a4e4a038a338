"""The errors every service speaks, each with its HTTP status and whether a retry can help.

    InterlockError
    ├── InvalidInput        400  what was sent breaks a rule that the message names
    ├── Unauthenticated     401  no, or no valid, credential
    ├── PermissionDenied    403  the principal is known and may not
    ├── NotFound            404  it does not exist, or the principal may not know that it does
    ├── Conflict            409  it exists already, or changed meanwhile
    ├── TooLarge            413  over a stated bound
    ├── TooManyRequests     429  over a rate limit; retry later
    ├── UpstreamFailed      502  what was called on the caller's behalf failed
    ├── Unavailable         503  something this answer depends on is away; retry later
    ├── DeadlineExceeded    504  no answer in the time given; retry later
    └── ConfigurationError   -   a start-up error: names the setting and what to do

The message names the rule that failed and the thing it failed on, in lower case, without a full stop and
never with a secret; data goes into ``fields``.
"""

from typing import Any, ClassVar


class InterlockError(Exception):
    """Base of all errors whose text may be shown to whoever asked."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, **fields: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields


class InvalidInput(InterlockError):
    status = 400
    code = "invalid_input"


class Unauthenticated(InterlockError):
    status = 401
    code = "unauthenticated"


class PermissionDenied(InterlockError):
    status = 403
    code = "permission_denied"


class NotFound(InterlockError):
    status = 404
    code = "not_found"


class Conflict(InterlockError):
    status = 409
    code = "conflict"


class TooLarge(InterlockError):
    status = 413
    code = "too_large"


class TooManyRequests(InterlockError):
    status = 429
    code = "too_many_requests"
    retryable = True


class UpstreamFailed(InterlockError):
    status = 502
    code = "upstream_failed"
    retryable = True


class Unavailable(InterlockError):
    status = 503
    code = "unavailable"
    retryable = True


class DeadlineExceeded(InterlockError):
    status = 504
    code = "deadline_exceeded"
    retryable = True


class ConfigurationError(InterlockError):
    """A setting is missing or wrong: the process must not start."""

    code = "configuration"


_KINDS: tuple[type[InterlockError], ...] = (
    InvalidInput, Unauthenticated, PermissionDenied, NotFound, Conflict, TooLarge, TooManyRequests,
    UpstreamFailed, Unavailable, DeadlineExceeded,
)  # fmt: skip
BY_STATUS: dict[int, type[InterlockError]] = {kind.status: kind for kind in _KINDS}
