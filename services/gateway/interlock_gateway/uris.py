"""URIs of resources where names are prefixed: ``notes+file:///a`` is ``file:///a`` of the upstream ``notes``.

A scheme may contain ``+`` (RFC 3986, section 3.1), so what was a URI or a URI template is one again. What is
rewritten in a list is rewritten in everything that refers to it: contents, links, embedded resources, updates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import msgspec

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_NO_SEGMENT = frozenset("/?#")

type Members = dict[str, msgspec.Raw]
type Rename = Callable[[str], str]


def scheme_of(slug: str) -> str:
    """What stands before the ``+``: a scheme begins with a letter, a slug may begin with a figure."""
    return slug if slug[:1].isalpha() else f"x{slug}"


def public_uri(slug: str, uri: str) -> str:
    return f"{scheme_of(slug)}+{uri}"


@dataclass(frozen=True, slots=True)
class Template:
    """A URI template (RFC 6570) as a pattern: literals, and between them expressions that stand for something.

    Matched without backtracking, in linear time: upstreams write templates, and callers write URIs.
    """

    literals: tuple[str, ...]
    plain: tuple[bool, ...]
    """Of each expression, whether it stands for a single segment."""

    @classmethod
    def parse(cls, template: str) -> Self:
        literals: list[str] = []
        plain: list[bool] = []
        rest = template
        while (start := rest.find("{")) >= 0 and (end := rest.find("}", start)) >= 0:
            literals.append(rest[:start])
            plain.append(rest[start + 1 : start + 2] not in {"+", "#", "/", "?", "&", ".", ";"})
            rest = rest[end + 1 :]
        return cls((*literals, rest), tuple(plain))

    def matches(self, uri: str) -> bool:
        first, *others = self.literals
        if not uri.startswith(first):
            return False
        position = len(first)
        for number, literal in enumerate(others):
            last = number == len(others) - 1
            end = _end_of(uri, literal, position, last=last)
            if end < 0 or (self.plain[number] and not _NO_SEGMENT.isdisjoint(uri[position:end])):
                return False
            position = end + len(literal)
        return position == len(uri)


def _end_of(uri: str, literal: str, position: int, *, last: bool) -> int:
    """Where the expression that begins at ``position`` ends, and ``literal`` begins; -1 if nowhere."""
    if not last:
        return uri.find(literal, position)
    end = len(uri) - len(literal)
    return end if end >= position and uri.endswith(literal) else -1


def rewrite_result(result: bytes, rename: Rename) -> bytes:
    """A result with every URI of a resource in it renamed; other members keep their bytes."""
    if b'"uri"' not in result:
        return result
    members = _members.decode(result)
    for name, change in (("contents", _contents), ("content", _block), ("messages", _message)):
        if name in members:
            members[name] = _each(members[name], lambda item, change=change: change(item, rename))
    return _encode(members)


def _each(items: msgspec.Raw, change: Callable[[Members], Members]) -> msgspec.Raw:
    if bytes(items)[:1] != b"[":
        return items
    return _raw([_changed(item, change) for item in _list.decode(items)])


def _changed(item: msgspec.Raw, change: Callable[[Members], Members]) -> msgspec.Raw:
    raw = bytes(item)
    return _raw(change(_members.decode(raw))) if raw[:1] == b"{" and b'"uri"' in raw else item


def _contents(item: Members, rename: Rename) -> Members:
    if "uri" in item:
        item["uri"] = _raw(rename(_text.decode(item["uri"])))
    return item


def _block(item: Members, rename: Rename) -> Members:
    """A content block: a resource link has a URI, an embedded resource one further in."""
    if "resource" in item:
        item["resource"] = _raw(_contents(_members.decode(item["resource"]), rename))
    elif bytes(item.get("type", b"")) == b'"resource_link"':
        _contents(item, rename)
    return item


def _message(item: Members, rename: Rename) -> Members:
    """A message of a prompt: its content is a block, or several."""
    content = item.get("content")
    if content is not None:
        raw = bytes(content)
        item["content"] = (
            _each(content, lambda block: _block(block, rename))
            if raw[:1] == b"["
            else _changed(content, lambda block: _block(block, rename))
        )
    return item


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
