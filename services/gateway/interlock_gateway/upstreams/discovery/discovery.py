"""What an upstream is: which era of the protocol it speaks, what it can do, and all that it offers.

Lists are asked for where the capability is declared; definitions are kept as the bytes that came over the wire,
since their digest is what later versions are compared with.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from interlock_common.messages.catalog import Definition, DefinitionKind, Era
from interlock_gateway.upstreams.discovery.asking import (
    METHOD_NOT_FOUND,
    Asking,
    Introduction,
    described,
    result_of,
)
from interlock_gateway.upstreams.discovery.definitions import LISTINGS, Collected, Listing
from interlock_gateway.upstreams.discovery.exchange import Answer, UpstreamUnusable

MAX_PAGES = 100
_FAREWELL_SECONDS = 2.0
EVERYTHING: frozenset[DefinitionKind] = frozenset(listing.kind for listing in LISTINGS)


@dataclass(frozen=True)
class Discovered:
    """An upstream as it presented itself, definitions in the order it listed them.

    ``asked`` are the kinds that were looked at; nothing is known of the others. ``left_out`` says in words which tools
    are missing because no client may use them.
    """

    era: Era
    protocol_version: str
    tools: tuple[Definition, ...] = ()
    resources: tuple[Definition, ...] = ()
    templates: tuple[Definition, ...] = ()
    prompts: tuple[Definition, ...] = ()
    capabilities: bytes = b"{}"
    instructions: str = ""
    asked: frozenset[DefinitionKind] = EVERYTHING
    left_out: str = ""

    def of(self, kind: DefinitionKind) -> tuple[Definition, ...]:
        return {"tool": self.tools, "resource": self.resources, "template": self.templates, "prompt": self.prompts}[
            kind
        ]


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    tools: tuple[msgspec.Raw, ...] | None = None
    resources: tuple[msgspec.Raw, ...] | None = None
    resource_templates: tuple[msgspec.Raw, ...] | None = None
    prompts: tuple[msgspec.Raw, ...] | None = None
    next_cursor: str | None = None

    def of(self, kind: DefinitionKind) -> tuple[msgspec.Raw, ...] | None:
        return {
            "tool": self.tools, "resource": self.resources, "template": self.resource_templates,
            "prompt": self.prompts,
        }[kind]  # fmt: skip


async def discover(
    talk: Asking,
    *,
    timeout: float,
    known: Introduction | None = None,
    kinds: frozenset[DefinitionKind] = EVERYTHING,
) -> Discovered:
    """Let the upstream introduce itself and list what it has of ``kinds``, all within ``timeout`` seconds.

    One that is ``known`` already need not introduce itself again. Raises UpstreamFailed, which says what failed.
    """
    try:
        async with asyncio.timeout(timeout):
            try:
                if known is None:
                    known = await talk.introduce()
                else:
                    await talk.resume(known)
                collected = await _collect(talk, known, kinds)
            finally:
                await _farewell(talk)
    except TimeoutError:
        raise UpstreamUnusable(f"{talk.place} did not tell what it offers within {timeout:g} s", "timeout") from None
    return Discovered(
        known.era, known.protocol_version,
        collected.of("tool"), collected.of("resource"), collected.of("template"), collected.of("prompt"),
        capabilities=known.capabilities or b"{}", instructions=known.instructions, asked=kinds,
        left_out=collected.left_out,
    )  # fmt: skip


async def _farewell(talk: Asking) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await talk.close()


async def _collect(talk: Asking, known: Introduction, kinds: Collection[DefinitionKind]) -> Collected:
    declared = None if known.capabilities is None else _declared(known.capabilities)
    collected = Collected(talk.place, modern=known.era == "modern")
    for listing in LISTINGS:
        if listing.kind in kinds and (declared is None or listing.capability in declared):
            await _list(talk, listing, collected, may_lack=declared is None or listing.kind == "template")
    return collected


def _declared(capabilities: bytes) -> set[str]:
    """The names of the capabilities that are there; null is none."""
    said = msgspec.json.decode(capabilities, type=dict[str, msgspec.Raw])
    return {name for name, value in said.items() if bytes(value) != b"null"}


async def _list(talk: Asking, listing: Listing, collected: Collected, *, may_lack: bool) -> None:
    cursors: set[str] = set()
    params: dict[str, object] = {}
    for _ in range(MAX_PAGES):
        answer = await talk.ask(listing.method, params)
        if may_lack and not cursors and _is_unknown(answer):
            return
        page = None if answer.message is None else result_of(answer.message, _Page)
        found = None if page is None else page.of(listing.kind)
        if page is None or found is None:
            raise UpstreamUnusable(
                f"{talk.place} does not answer {listing.method}: {described(answer)}", "protocol", status=answer.status
            )
        for raw in found:
            collected.add(listing.kind, bytes(raw))
        if page.next_cursor is None:
            return
        if page.next_cursor in cursors:
            raise UpstreamUnusable(f"{talk.place} pages {listing.method} in a circle", "protocol")
        cursors.add(page.next_cursor)
        params = {"cursor": page.next_cursor}
    raise UpstreamUnusable(f"{talk.place} has more than {MAX_PAGES} pages for {listing.method}", "too_large")


def _is_unknown(answer: Answer) -> bool:
    error = None if answer.message is None else answer.message.error
    return error is not None and error.code == METHOD_NOT_FOUND
