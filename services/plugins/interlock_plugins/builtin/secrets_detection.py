"""Finds credentials in every string of a payload, and redacts them or denies the call."""

from collections import Counter

import msgspec

from interlock_common.messages.plugins import Hook, HookContext
from interlock_plugins.builtin.detectors import BROAD, NARROW, SECRET_MEMBER, SECRET_MEMBER_IN_JSON
from interlock_plugins.document import Document, JsonString
from interlock_plugins.errors import PluginFileRefused
from interlock_plugins.patterns import Pattern, any_of
from interlock_plugins.plugin import CONTINUE, Deny, Outcome, Replace

MEMBER = "secret_member"
"""The detector that goes by the name of a member, as in ``{"password": "…"}``; it looks at results only."""
_MIN_MEMBER_LENGTH = 4


class SecretsDetectionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``enabled`` switches single detectors; ``block_on_detection`` is on by default where ``redact`` is off."""

    enabled: dict[str, bool] = {}
    redact: bool = False
    redaction_text: str = "[REDACTED]"
    block_on_detection: bool | None = None
    min_findings_to_block: int = 1


class SecretsDetectionPlugin:
    """One combined search rules clean payloads out, so that they cost microseconds and keep every byte."""

    linear = True

    def __init__(self, config: SecretsDetectionConfig) -> None:
        known = {**NARROW, **BROAD}
        if unknown := sorted(set(config.enabled) - {*known, MEMBER}):
            raise PluginFileRefused(f"config.enabled names unknown detectors: {', '.join(unknown)}")
        chosen = [name for name in known if config.enabled.get(name, name in NARROW)]
        self._by_member = config.enabled.get(MEMBER, True)
        if not chosen and not self._by_member:
            raise PluginFileRefused("config.enabled leaves no detector")
        self._detectors = {name: Pattern(known[name]) for name in chosen}
        quick = [known[name] for name in chosen]
        self._quick = any_of([*quick, SECRET_MEMBER_IN_JSON] if self._by_member else quick)
        self._member = Pattern(SECRET_MEMBER)
        self._redact = config.redact
        self._text = config.redaction_text.encode()
        block = not config.redact if config.block_on_detection is None else config.block_on_detection
        self._block_from = max(1, config.min_findings_to_block) if block else None

    def check(self, hook: Hook, document: Document, context: HookContext) -> Outcome:
        del context
        if not self._quick.found_in(document.searchable):
            return CONTINUE
        # An argument called "password" is often just that; a result has no reason to show one.
        member = self._member if self._by_member and hook == "tool_post_invoke" else None
        sweep = _Sweep(self._quick, self._detectors, member, self._text)
        payload = document.rewritten(sweep.cleaned)
        if not sweep.found:
            return CONTINUE
        total = sweep.found.total()
        detail = f"{total} found: {', '.join(sorted(sweep.found))}"
        if self._block_from is not None and total >= self._block_from:
            where = "arguments" if hook == "tool_pre_invoke" else "result"
            return Deny("SECRETS_DETECTED", f"the {where} contain what looks like a secret", detail)
        return Replace(payload, detail) if self._redact else CONTINUE


class _Sweep:
    """One pass over the strings of one payload, counting what it finds by detector."""

    def __init__(
        self, quick: Pattern, detectors: dict[str, Pattern], member: Pattern | None, replacement: bytes
    ) -> None:
        self.found: Counter[str] = Counter()
        self._quick = quick
        self._detectors = detectors
        self._member = member
        self._replacement = replacement

    def cleaned(self, string: JsonString) -> bytes:
        """The text of ``string`` with what was found replaced."""
        text = string.text
        if text == self._replacement:
            return text
        if self._is_secret_member(string):
            self.found[MEMBER] += 1
            return self._replacement
        if not self._quick.found_in(text):
            return text
        spans: list[tuple[int, int]] = []
        for name, pattern in self._detectors.items():
            here = [span for span in pattern.spans(text) if text[slice(*span)] != self._replacement]
            if here:
                self.found[name] += len(here)
                spans += here
        return _replaced(text, spans, self._replacement)

    def _is_secret_member(self, string: JsonString) -> bool:
        long_enough = len(string.text) >= _MIN_MEMBER_LENGTH
        return self._member is not None and long_enough and bool(string.member) and self._member.found_in(string.member)


def _replaced(text: bytes, spans: list[tuple[int, int]], replacement: bytes) -> bytes:
    """``text`` with the spans, which may overlap, replaced; overlapping ones become one."""
    pieces: list[bytes] = []
    position = 0
    for start, end in sorted(spans):
        if start >= position:
            pieces += (text[position:start], replacement)
        position = max(position, end)
    return b"".join((*pieces, text[position:]))
