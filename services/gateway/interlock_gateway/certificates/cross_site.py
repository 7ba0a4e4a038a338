"""Credentials that browsers add by themselves, and pages of other sites that would make use of that.

A client certificate, or what a proxy says of its session, comes with every request of a browser, whichever page asked.
"""

from collections.abc import Container

from interlock_gateway.certificates.errors import CrossSite
from interlock_gateway.certificates.proxy_headers import Pairs

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})


def check_same_site(method: str, headers: Pairs, origins: Container[str]) -> None:
    """Raise CrossSite for a request that changes something and comes from a page that is not allowed.

    By ``Origin`` where there is one, else by ``Sec-Fetch-Site``; what is no browser sends neither.
    """
    if method in _SAFE:
        return
    said = dict(headers)
    origin = said.get(b"origin")
    if origin is not None:
        allowed = origin.decode("latin-1") in origins
    else:
        allowed = said.get(b"sec-fetch-site", b"none") in _OWN
    if not allowed:
        raise CrossSite("a page of another site must not use the certificate, or the session, of a browser")
