"""Files that crawlers and finders of weaknesses look for: ``robots.txt``, ``security.txt``, and an operator's own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

import msgspec
from fastapi import FastAPI, Request, Response

from interlock_common.errors import ConfigurationError
from interlock_gateway.rest.dependencies import Deps, public_url

_ROBOTS = "User-agent: *\nDisallow: /\n"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:\.[a-z0-9]{1,8})?")
_CONTACT = re.compile(r"(?:mailto:[^\s@]+@[^\s@]+|https://\S+|tel:\+?[0-9-]+)", re.ASCII)
_RESERVED = re.compile(r"(?:oauth|openid|jwks|security|robots|mcp)\b.*")
"""What the gateway says itself, or clients take for its word."""
_MAX_FILES, _MAX_BYTES = 20, 64 * 1024
_VALID = timedelta(days=180)
_KINDS = {"json": "application/json", "html": "text/plain; charset=utf-8"}
_TEXT = "text/plain; charset=utf-8"
_CACHED = {"Cache-Control": "public, max-age=3600"}


@dataclass(frozen=True, slots=True)
class WellKnownFiles:
    """``contact`` is whom ``security.txt`` names; there is none without it. ``custom`` are texts by their names."""

    enabled: bool = False
    contact: str = ""
    custom: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, *, enabled: bool, contact: str, custom: str) -> "WellKnownFiles":
        """Of settings; raises ConfigurationError that names the one that is wrong."""
        if contact and not _CONTACT.fullmatch(contact):
            raise ConfigurationError("SECURITY_CONTACT is a mailto:, https: or tel: address (RFC 9116, section 2.5.3)")
        return cls(enabled, contact, _files(custom) if custom else {})


def install(app: FastAPI, files: WellKnownFiles) -> None:
    """Serve the files, to anybody."""
    if not files.enabled:
        return

    async def robots() -> Response:
        return _text(_ROBOTS, "robots.txt")

    async def security(request: Request, deps: Deps) -> Response:
        return _text(security_txt(files.contact, public_url(request), deps.clock.now()), "security.txt")

    app.add_api_route("/robots.txt", robots, methods=["GET"], include_in_schema=False)
    if files.contact:
        app.add_api_route("/.well-known/security.txt", security, methods=["GET"], include_in_schema=False)
    for name, text in files.custom.items():
        app.add_api_route(f"/.well-known/{name}", _serving(name, text), methods=["GET"], include_in_schema=False)


def security_txt(contact: str, base: str, now: datetime) -> str:
    """The file of RFC 9116, which never has expired: it is made anew for whoever asks."""
    day = (now.astimezone(UTC) + _VALID).date()
    expires = datetime.combine(day, time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = (f"Contact: {contact}", f"Expires: {expires}", "Preferred-Languages: en",
             f"Canonical: {base}/.well-known/security.txt")  # fmt: skip
    return "\n".join(lines) + "\n"


def _serving(name: str, text: str):  # noqa: ANN202 - a route
    async def serve() -> Response:
        return _text(text, name)

    return serve


def _text(text: str, name: str) -> Response:
    return Response(text, 200, _CACHED, _KINDS.get(name.rpartition(".")[2], _TEXT))


def _files(custom: str) -> dict[str, str]:
    try:
        files = msgspec.json.decode(custom, type=dict[str, str])
    except msgspec.DecodeError:
        raise ConfigurationError("WELL_KNOWN_CUSTOM_FILES is a JSON object of names and texts") from None
    if len(files) > _MAX_FILES:
        raise ConfigurationError(f"WELL_KNOWN_CUSTOM_FILES has at most {_MAX_FILES} files")
    for name, text in files.items():
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            raise ConfigurationError(f"WELL_KNOWN_CUSTOM_FILES cannot have a file called {name[:80]!r}")
        if len(text.encode()) > _MAX_BYTES:
            raise ConfigurationError(f"WELL_KNOWN_CUSTOM_FILES: {name} is over {_MAX_BYTES} bytes")
    return files
