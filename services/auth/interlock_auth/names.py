"""What users, service accounts, teams and roles may be called."""

import re

from interlock_common.errors import InvalidInput
from interlock_common.messages.identities import Kind

MYSELF = "me"
"""Whoever asks, in the paths of the API, and so nobody's name."""
MAX_EMAIL_LENGTH = 254
MAX_TEXT_LENGTH = 1000
_MAX_NAME_LENGTH = 100
_MAX_FULL_NAME_LENGTH = 200
_EMAIL = re.compile(r"[^\s@/]+@[^\s@/]+")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{1,62}")


def normalized(email: str) -> str:
    """One principal per mailbox, however its e-mail is written."""
    return email.strip().lower()


def email(given: str) -> str:
    """An e-mail as it names a person; raises InvalidInput."""
    name = normalized(given)
    if len(name) > MAX_EMAIL_LENGTH or not name.isprintable() or _EMAIL.fullmatch(name) is None:
        raise InvalidInput("a person is named by an e-mail address", field="email")
    return name


def user_name(kind: Kind, given: str) -> str:
    """The name of a user of that kind; the two kinds have no name in common."""
    if kind == "person":
        return email(given)
    if _SERVICE.fullmatch(given) is None or given == MYSELF:
        raise InvalidInput("a service account has 2 to 63 of a-z, 0-9, dot, dash and underscore", field="name")
    return given


def role_name(given: str) -> str:
    if _ROLE.fullmatch(given) is None:
        raise InvalidInput(
            "a role has 2 to 63 of a-z, 0-9, dash and underscore, and begins with a letter", field="name"
        )
    return given


def team_name(given: str) -> str:
    name = given.strip()
    if not name or len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidInput(f"a team has a name of 1 to {_MAX_NAME_LENGTH} printable characters", field="name")
    return name


def full_name(given: str) -> str:
    name = given.strip()
    if len(name) > _MAX_FULL_NAME_LENGTH or not name.isprintable():
        raise InvalidInput(f"a full name has at most {_MAX_FULL_NAME_LENGTH} printable characters", field="full_name")
    return name


def description(given: str) -> str:
    if len(given) > MAX_TEXT_LENGTH:
        raise InvalidInput(f"a description has at most {MAX_TEXT_LENGTH} characters", field="description")
    return given
