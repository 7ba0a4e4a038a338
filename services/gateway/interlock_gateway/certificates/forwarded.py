r"""``X-Forwarded-Client-Cert`` of Envoy: elements of proxies, separated by commas, each of pairs ``Key=value``.

Values may be quoted, with ``\`` before a quotation mark. Each proxy appends: the last element is of the nearest one.
"""

import re

from interlock_gateway.certificates.errors import ProxyMisconfigured

_PAIR = re.compile(rb'\s*([A-Za-z]{1,16})=(?:"((?:[^"\\]|\\.)*)"|([^",;]*))')
_MAX_PAIRS = 256


def last_element(header: bytes) -> dict[str, bytes]:
    """The pairs of the last element, keys in lower case; of a repeated key the first. Raises ProxyMisconfigured."""
    found: dict[str, bytes] = {}
    place = 0
    for _ in range(_MAX_PAIRS):
        match = _PAIR.match(header, place)
        if match is None:
            break
        quoted, plain = match[2], match[3]
        value = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
        found.setdefault(match[1].decode().lower(), value)
        place = match.end()
        if place == len(header):
            return found
        separator = header[place : place + 1]
        if separator == b",":
            found = {}
        elif separator != b";":
            break
        place += 1
    raise ProxyMisconfigured("X-Forwarded-Client-Cert cannot be read", header="X-Forwarded-Client-Cert")
