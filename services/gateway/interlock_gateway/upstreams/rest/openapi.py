"""An OpenAPI document, 3.0 or 3.1, as the tools of a REST upstream.

Nothing is fetched: the document is all there is. What cannot be a tool is left out, and ``notes`` say what and why.
Reading a large document takes seconds of CPU: servers do it in a thread.
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from yarl import URL

from interlock_common.messages.catalog import RestCall
from interlock_gateway.upstreams.rest.openapi_document import (
    Document,
    Mapping,
    OpenApiInvalid,
    Unusable,
    mapping,
    read,
    text,
)
from interlock_gateway.upstreams.rest.openapi_operations import (
    MAX_NAME,
    METHODS,
    OTHER_METHODS,
    Operation,
    Tool,
    tool_of,
)
from interlock_gateway.upstreams.rest.openapi_schema import Work

MAX_TOOLS = 1000
MAX_TOTAL_BYTES = 3_000_000
"""All definitions and calls together: an upstream is one message on the bus, and those end at 8 MiB."""

MAX_NOTES = 500
_MAX_NOTE = 300
_MAX_PATTERNS = 200
_MAX_URL = 2048
_MAX_NAME = 100
_MAX_DESCRIPTION = 4096
_VERSION = re.compile(r"3\.([01])(?:\.[0-9]+)?(?:-[0-9A-Za-z.]+)?")
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_NOT_PRINTABLE = re.compile(r"\s+")


@dataclass(frozen=True)
class Imported:
    """A REST upstream as a document describes it; ``definitions`` are tool objects, ``rest`` has a call for each."""

    name: str
    url: str
    description: str
    definitions: tuple[bytes, ...]
    rest: dict[str, RestCall]
    notes: tuple[str, ...]


def import_openapi(
    document: bytes, *, base_url: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Imported:
    """Read a document, JSON or YAML; raises OpenApiInvalid, which says what is wrong.

    ``include`` and ``exclude`` are patterns (``*``, ``?``) of tool names, operation ids, ``GET /path`` or
    ``tag:name``. Deprecated operations come in only where a pattern of ``include`` matches. Without ``base_url``,
    the document's first server is where the upstream is.
    """
    root = read(document)
    version = _VERSION.fullmatch(text(root.get("openapi")))
    if version is None:
        raise OpenApiInvalid("the document does not say that it is OpenAPI 3.0 or 3.1 (member openapi)")
    information = mapping(root.get("info")) or {}
    url = _checked_url(base_url) if base_url is not None else _first_server(root)
    gathering = _Gathering(Document(root), _Choice.of(include, exclude), keeps_siblings=version[1] == "1")
    gathering.add_all()
    return Imported(
        name=_name(information, url),
        url=url,
        description=text(information.get("description")).strip()[:_MAX_DESCRIPTION],
        definitions=tuple(tool.definition for tool in gathering.tools.values()),
        rest={name: tool.call for name, tool in gathering.tools.items()},
        notes=gathering.all_notes(),
    )


@dataclass(frozen=True)
class _Choice:
    """Which operations are wanted."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str]) -> "_Choice":
        if len(include) + len(exclude) > _MAX_PATTERNS or any(len(p) > _MAX_NOTE for p in (*include, *exclude)):
            raise OpenApiInvalid(f"there are at most {_MAX_PATTERNS} patterns, of {_MAX_NOTE} characters each")
        return cls(tuple(include), tuple(exclude))

    def reason_against(self, operation: Operation, name: str) -> str | None:
        """Why an operation is left out: empty where it was not asked for, None where it is wanted."""
        tags: Any = operation.node.get("tags")
        labels = [name, text(operation.node.get("operationId")), operation.label]
        if isinstance(tags, list):
            labels += [f"tag:{tag}" for tag in cast("list[Any]", tags)]
        if _matches(labels, self.exclude) or (self.include and not _matches(labels, self.include)):
            return ""
        return "it is deprecated" if operation.node.get("deprecated") is True and not self.include else None


def _matches(labels: list[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(label, pattern) for pattern in patterns for label in labels)


@dataclass
class _Gathering:
    """The tools of a document, as they are found."""

    document: Document
    choice: _Choice
    keeps_siblings: bool
    tools: dict[str, Tool] = field(default_factory=dict[str, Tool])
    notes: list[str] = field(default_factory=list[str])
    left_out: int = 0
    _work: Work = field(default_factory=Work)
    _bytes: int = 0

    def add_all(self) -> None:
        for operation in self._operations():
            name = self._unique(operation.plain_name)
            reason = self.choice.reason_against(operation, name)
            if reason is None:
                self._add(operation, name)
            elif reason:
                self.notes.append(f"{operation.label} is left out: {reason}")
            else:
                self.left_out += 1
        if not self.tools:
            why = f": {self.notes[0]}" if self.notes else ""
            raise OpenApiInvalid(f"no operation of the document can be a tool{why}"[: 2 * _MAX_NOTE])
        self._note_security()

    def all_notes(self) -> tuple[str, ...]:
        notes = [note[:_MAX_NOTE] for note in self.notes]
        if self.left_out:
            notes.append(f"{self.left_out} operations are left out by choice")
        if len(notes) > MAX_NOTES:
            notes[MAX_NOTES:] = [f"and {len(notes) - MAX_NOTES} notes more"]
        return tuple(notes)

    def _operations(self) -> Iterator[Operation]:
        paths = mapping(self.document.root.get("paths"))
        if not paths:
            raise OpenApiInvalid("the document has no paths")
        for path, item in paths.items():
            if not path.startswith("/"):
                continue  # an extension
            try:
                shared = self.document.resolved(item)
            except Unusable as error:
                self.notes.append(f"{path[:200]} is left out: {error}")
                continue
            for method in METHODS:
                if (node := mapping(shared.get(method))) is not None:
                    yield Operation(method, path, node, shared)
            self.notes += [f"{other.upper()} {path[:200]} is left out: no tool calls with this method"
                           for other in OTHER_METHODS if other in shared]  # fmt: skip

    def _unique(self, plain: str) -> str:
        name, number = plain, 1
        while name in self.tools:
            number += 1
            name = f"{plain[: MAX_NAME - len(str(number)) - 1]}_{number}"
        return name

    def _add(self, operation: Operation, name: str) -> None:
        try:
            tool = tool_of(self.document, self._work, operation, name, keeps_siblings=self.keeps_siblings)
        except Unusable as error:
            self.notes.append(f"{operation.label} is left out: {error}")
            return
        self.tools[name] = tool
        self._bytes += len(tool.definition) + len(tool.call.path) + sum(
            len(key) + len(value) + 8
            for place in (tool.call.query, tool.call.headers, tool.call.body or {}) for key, value in place.items()
        )  # fmt: skip
        if len(self.tools) > MAX_TOOLS or self._bytes > MAX_TOTAL_BYTES:
            raise OpenApiInvalid(f"the document makes more than {MAX_TOOLS} tools or {MAX_TOTAL_BYTES} bytes of them: "
                                 "choose operations with include")  # fmt: skip
        self.notes += [f"{operation.label}: {note}" for note in tool.notes]

    def _note_security(self) -> None:
        components = mapping(self.document.root.get("components")) or {}
        schemes = mapping(components.get("securitySchemes")) or {}
        kinds = sorted({text((mapping(scheme) or {}).get("type")) for scheme in schemes.values()} - {""})
        if kinds:
            self.notes.append(
                f"the API asks for credentials ({', '.join(kinds)[:100]}): register them with the upstream"
            )


def _first_server(root: Mapping) -> str:
    servers: Any = root.get("servers")
    first = mapping(servers[0]) if isinstance(servers, list) and servers else None
    if first is None:
        raise OpenApiInvalid("the document names no server: give a base url")
    variables = mapping(first.get("variables")) or {}

    def default(variable: re.Match[str]) -> str:
        return text((mapping(variables.get(variable[1])) or {}).get("default"))

    return _checked_url(_VARIABLE.sub(default, text(first.get("url"))[:_MAX_URL]))


def _checked_url(url: str) -> str:
    try:
        parsed = URL(url)
        fits = parsed.scheme in {"http", "https"} and bool(parsed.host) and parsed.port is not None
    except ValueError:
        fits, parsed = False, URL()
    if not fits or len(url) > _MAX_URL or not url.isprintable():
        raise OpenApiInvalid(f"{url[:100]!r} is no address of a server (http or https): give a base url")
    if parsed.user is not None or parsed.password is not None or parsed.fragment:
        raise OpenApiInvalid("the address of a server carries no user, no password and no fragment")
    return url


def _name(information: Mapping, url: str) -> str:
    title = "".join(c for c in _NOT_PRINTABLE.sub(" ", text(information.get("title"))) if c.isprintable())
    name = title[:_MAX_NAME].strip()
    return name if re.search(r"[A-Za-z0-9]", name) else (URL(url).host or "")[:_MAX_NAME]
