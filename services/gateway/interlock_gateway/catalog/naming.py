"""Names, slugs, ids and addresses: what the catalog accepts."""

import re

from yarl import URL

from interlock_gateway.catalog.errors import InvalidName, InvalidUrl

MAX_NAME = 100
MAX_SLUG = 40
MAX_URL = 2048
MAX_DESCRIPTION = 4096

_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def checked_name(name: str) -> str:
    """The name without surrounding blanks; 1 to 100 printable characters."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidName(f"a name is 1 to {MAX_NAME} printable characters", field="name")
    return name


def checked_description(description: str) -> str:
    if len(description) > MAX_DESCRIPTION:
        raise InvalidName(f"a description is at most {MAX_DESCRIPTION} characters", field="description")
    return description


def slug_of(name: str) -> str:
    """What prefixes the tools of an upstream: its name in lower case, everything else as hyphens."""
    slug = _NOT_SLUG.sub("-", name.lower())[:MAX_SLUG].strip("-")
    if not slug:
        raise InvalidName("a name needs a letter or a figure of ASCII, to prefix tools with", field="name")
    return slug


def checked_id(identifier: str) -> str:
    """An id that is fit to be part of an address and of a key of the bus."""
    if _ID.fullmatch(identifier) is None:
        raise InvalidName("an id is 1 to 64 of A-Z a-z 0-9 _ -", field="id")
    return identifier


def checked_url(url: str) -> str:
    """The address as given, when it can be an upstream's."""
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError:
        raise InvalidUrl("the url is not a URL", field="url") from None
    if len(url) > MAX_URL or not url.isprintable():
        raise InvalidUrl(f"a url is at most {MAX_URL} printable characters", field="url")
    if parsed.scheme not in {"http", "https"} or not parsed.host or port is None:
        raise InvalidUrl("the url of an upstream begins with http:// or https:// and names a host", field="url")
    if parsed.user is not None or parsed.password is not None:
        raise InvalidUrl("a url carries no user and no password", field="url")
    if parsed.fragment:
        raise InvalidUrl("the url of an upstream has no fragment", field="url")
    return url
