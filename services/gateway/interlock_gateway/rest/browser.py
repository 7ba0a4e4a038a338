"""Forms and cookies of the pages at the authorization endpoint.

A form counts only from a page that was shown to this browser: it has a proof that nobody makes without the cookie.
"""

import hashlib
import hmac
import re
from html import escape
from urllib.parse import urlencode, urlsplit

from fastapi import Request, Response

from interlock_common.errors import InterlockError, PermissionDenied
from interlock_gateway.rest.dependencies import RestDependencies, public_url
from interlock_gateway.rest.oauth_requests import RequestRefused, parameters
from interlock_gateway.rest.pages import page, page_headers

SESSION, BROWSER = "interlock-session", "interlock-browser"
BROWSER_SECONDS = 3600
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_QUERY = 8192
_MAX_STATE = 2048
_SEE_OTHER = 303

type Query = dict[str, str]


class ProofMissing(PermissionDenied):
    """A form that was not sent from its page, in this browser."""

    code = "csrf"


def query_of(request: Request) -> Query:
    """The parameters of the address; raises RequestRefused."""
    if len(request.url.query) > _MAX_QUERY:
        raise RequestRefused(f"the query has at most {_MAX_QUERY} bytes")
    query = parameters(request.url.query)
    if len(query.get("state", "")) > _MAX_STATE:
        raise RequestRefused(f"state has at most {_MAX_STATE} characters")
    return query


def cookie(request: Request, deps: RestDependencies, name: str) -> str:
    """The value of a cookie of ours; empty where there is none."""
    value = request.cookies.get(deps.oauth.cookies.name(name), "")
    return value if _VALUE.fullmatch(value) else ""


def proof(secret: str, purpose: str, query: Query) -> str:
    """What a form carries that is about this, and nothing else, in this browser."""
    return hmac.new(secret.encode(), f"{purpose}\n{urlencode(query)}".encode(), hashlib.sha256).hexdigest()


def require_proof(request: Request, secret: str, purpose: str, query: Query, said: Query) -> None:
    """Raise ProofMissing for a form that came from anywhere but its page in this browser."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise ProofMissing("this form was sent by another site")
    origin = request.headers.get("origin")
    if origin is not None and origin not in {_origin(public_url(request)), _origin(str(request.base_url))}:
        raise ProofMissing("this form was sent by another site")
    if not secret or not hmac.compare_digest(said.get("proof", "").encode(), proof(secret, purpose, query).encode()):
        raise ProofMissing("this was not sent from its page, in this browser: go back and try again")


def form_to(where: str, query: Query, proven: str) -> str:
    """The beginning of a form; ``where`` is below the pages of OAuth."""
    action = escape(f"/oauth/{where}?{urlencode(query)}", quote=True)
    return f'<form method="post" action="{action}"><input type="hidden" name="proof" value="{proven}">'


def go_to(place: str) -> Response:
    return Response(status_code=_SEE_OTHER, headers={"Location": place, **page_headers()})


def refused(error: InterlockError) -> Response:
    return page("This did not work", f"<p>{escape(error.detail)}</p>", error.status)


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
