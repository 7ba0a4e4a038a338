"""Definitions as upstreams list them: bounded, named, with the digest of the bytes that came over the wire."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import msgspec

from interlock_common.messages.catalog import Definition, DefinitionKind
from interlock_gateway.nesting import deeper_than
from interlock_gateway.param_headers import invalid_mark
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable

MAX_DEFINITIONS = 10_000
MAX_DEFINITION_BYTES = 4 * 1024 * 1024
"""All definitions of one upstream together: an upstream is one message on the bus, and those end at 8 MiB."""

MAX_DEPTH = 64
"""How deep a definition may nest: decoders recurse, and the edges decode it among other things."""

MAX_NAME_BYTES = 2048
_MAX_TOLD = 5
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    input_schema: dict[str, msgspec.Raw]


class _Resource(msgspec.Struct, frozen=True):
    uri: str
    name: str


class _Template(msgspec.Struct, frozen=True, rename="camel"):
    uri_template: str
    name: str


class _Argument(msgspec.Struct, frozen=True):
    name: str


class _Prompt(msgspec.Struct, frozen=True):
    name: str
    arguments: tuple[_Argument, ...] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """How definitions of a kind are listed: by ``method``, if the server declares ``capability``."""

    kind: DefinitionKind
    method: str
    capability: str
    name_of: Callable[[bytes], str]


LISTINGS: tuple[Listing, ...] = (
    Listing("tool", "tools/list", "tools", lambda raw: msgspec.json.decode(raw, type=_Tool).name),
    Listing("resource", "resources/list", "resources", lambda raw: msgspec.json.decode(raw, type=_Resource).uri),
    Listing("template", "resources/templates/list", "resources",
            lambda raw: msgspec.json.decode(raw, type=_Template).uri_template),
    Listing("prompt", "prompts/list", "prompts", lambda raw: msgspec.json.decode(raw, type=_Prompt).name),
)  # fmt: skip

_NAME_OF = {listing.kind: listing.name_of for listing in LISTINGS}


def read_definition(kind: DefinitionKind, raw: bytes, place: str) -> Definition:
    """A definition with its digest; raises UpstreamUnusable for one that no client could use.

    One such refuses all of them: what cannot be used would otherwise be missing without anybody being told.
    """
    try:
        raw.decode()  # decoders pass over the text of members that nobody asked for
        if deeper_than(raw, MAX_DEPTH):
            raise UpstreamUnusable(f"{place} nests a {kind} over {MAX_DEPTH} levels deep", "protocol")
        name = _NAME_OF[kind](raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamUnusable(f"{place} lists a {kind} that is no {kind}: {error}", "protocol") from None
    if kind == "tool" and _TOOL_NAME.fullmatch(name) is None:
        raise UpstreamUnusable(
            f"{place} names a tool {name[:128]!r}: names are 1 to 128 of A-Z a-z 0-9 _ . -", "protocol"
        )
    if not name.isprintable() or not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise UpstreamUnusable(
            f"{place} names a {kind} {name[:128]!r}: names are 1 to {MAX_NAME_BYTES} printable bytes", "protocol"
        )
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return Definition(name=name, definition=msgspec.Raw(raw), digest=digest)


class Collected:
    """The definitions of one upstream while they come in, held to the bounds of all of them together.

    A tool of a ``modern`` upstream whose marked parameters do not fit the protocol is left out (MCP 2026-07-28,
    transports: a client must not use it, and must use the others); ``left_out`` says which, and why.
    """

    def __init__(self, place: str, *, modern: bool) -> None:
        self._place = place
        self._modern = modern
        self._size = 0
        self._found: dict[tuple[DefinitionKind, str], Definition] = {}
        self._left_out: dict[str, str] = {}

    def add(self, kind: DefinitionKind, raw: bytes) -> None:
        """Take one definition; raises UpstreamUnusable when it is unfit, listed twice, or one too many."""
        definition = read_definition(kind, raw, self._place)
        if (kind, definition.name) in self._found or (kind == "tool" and definition.name in self._left_out):
            raise UpstreamUnusable(f"{self._place} lists the {kind} {definition.name} twice", "protocol")
        if self._modern and kind == "tool" and (reason := invalid_mark(raw)):
            self._left_out[definition.name] = reason
        else:
            self._found[kind, definition.name] = definition
        self._size += len(msgspec.json.encode(definition)) + 1
        if len(self._found) + len(self._left_out) > MAX_DEFINITIONS or self._size > MAX_DEFINITION_BYTES:
            raise UpstreamUnusable(
                f"{self._place} has more than {MAX_DEFINITIONS} definitions or {MAX_DEFINITION_BYTES} bytes of them",
                "too_large",
            )

    def of(self, kind: DefinitionKind) -> tuple[Definition, ...]:
        """What came of ``kind``, in the order it was listed."""
        return tuple(definition for (its_kind, _), definition in self._found.items() if its_kind == kind)

    @property
    def left_out(self) -> str:
        """In words which tools are missing; empty where none is."""
        told = [f"{name} ({reason})" for name, reason in islice(self._left_out.items(), _MAX_TOLD)]
        if not told:
            return ""
        more = len(self._left_out) - len(told)
        return f"left out: {', '.join(told)}{f' and {more} more' if more else ''}"
