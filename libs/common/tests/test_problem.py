from typing import Any

import msgspec
import pytest

from interlock_common import problem
from interlock_common.errors import (
    BY_STATUS,
    ConfigurationError,
    InterlockError,
    NotFound,
    PermissionDenied,
    Unavailable,
)


class ScopeMissing(PermissionDenied):
    code = "insufficient_scope"


@pytest.mark.parametrize("kind", [*BY_STATUS.values(), InterlockError, ScopeMissing])
def test_an_error_survives_the_trip_between_services(kind: type[InterlockError]) -> None:
    error = kind("the thing is not there", thing="x", nested={"a": [1, None]})
    told = problem.error_of(problem.encode(problem.problem_of(error)))
    assert (told.status, told.code, told.retryable) == (error.status, error.code, error.retryable)
    assert (told.detail, told.fields, str(told)) == (error.detail, error.fields, str(error))
    assert isinstance(told, BY_STATUS.get(kind.status, InterlockError))


def test_a_finer_code_changes_no_other_error() -> None:
    problem.error_of(problem.encode(problem.problem_of(ScopeMissing("no"))))
    assert PermissionDenied("no").code == "permission_denied"


def test_a_problem_document_has_the_members_of_the_rfc() -> None:
    error = NotFound("no such thing", id="x")
    document: dict[str, Any] = msgspec.json.decode(problem.encode(problem.problem_of(error)))
    assert document == {
        "type": "urn:interlock:error:not_found", "title": "not found", "status": 404, "detail": "no such thing",
        "fields": {"id": "x"},
    }  # fmt: skip


def test_what_nobody_foresaw_tells_nothing() -> None:
    error = problem.error_of(problem.encode(problem.UNEXPECTED))
    assert (error.status, error.code, error.detail) == (500, "internal", "unexpected failure")


def test_each_status_has_one_kind_and_retrying_is_said() -> None:
    assert all(kind.status == status for status, kind in BY_STATUS.items())
    assert Unavailable("x").retryable
    assert not NotFound("x").retryable
    assert ConfigurationError("x").code == "configuration"
