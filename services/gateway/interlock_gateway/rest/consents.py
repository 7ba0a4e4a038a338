"""``/oauth/upstreams``: the pages on which a user lets the gateway use an upstream on their behalf.

They are for browsers and ask for no token: whoever has the address, which is sealed and good for ten minutes and one
use, may confirm. So the page says for whom and for what, and only a POST from that page, in that browser, goes on.
"""

import hashlib
import hmac
import re
import secrets
from html import escape
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request, Response

from interlock_common.errors import InterlockError
from interlock_gateway.rest.dependencies import Deps
from interlock_gateway.rest.pages import facts, page, page_headers
from interlock_gateway.upstreams.oauth.consents import ConsentRefused

_COOKIE = "interlock-consent"
_PATH = "/oauth/upstreams"
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_FORM = 16 * 1024
_COOKIE_SECONDS = 900
_ANYWHERE = "'self' https: http:"  # a form leads on to an authorization server
router = APIRouter(prefix=_PATH, include_in_schema=False)


@router.get("/callback")
async def finish(request: Request, deps: Deps) -> Response:
    """Where the authorization server sends the browser back to."""
    try:
        upstream, principal = await deps.consents.finish(dict(request.query_params), _browser(request))
    except InterlockError as error:
        return _refused(error)
    about = facts({"Server": upstream, "On behalf of": principal})
    return page("Done", f"{about}<p>Interlock may use it now. Close this page, and go on where you were.</p>")


@router.get("/{upstream_id}/start")
async def show(upstream_id: str, request: Request, deps: Deps) -> Response:
    """Say what is asked, of whom; nothing happens yet."""
    state = request.query_params.get("state", "")
    try:
        start, upstream = deps.consents.opened(upstream_id, state)
    except InterlockError as error:
        return _refused(error)
    browser = _browser(request) or secrets.token_urlsafe(32)
    about = facts({"Server": f"{upstream.name} ({upstream.url})", "On behalf of": start.principal})
    action = escape(f"{_PATH}/{upstream_id}/start?{urlencode({'state': state})}", quote=True)
    body = (
        f"{about}<p>Interlock asks to use this server for you. Go on only if you are "
        f"<b>{escape(start.principal)}</b> and have just asked for this yourself: "
        "whoever logs in next gives their own access away to this name.</p>"
        f'<form method="post" action="{action}"><input type="hidden" name="proof" '
        f'value="{_proof(browser, state)}"><button>Continue</button></form>'
    )
    shown = page("Use a server on your behalf", body, form_action=_ANYWHERE)
    shown.set_cookie(
        _COOKIE, browser, max_age=_COOKIE_SECONDS, path=_PATH, httponly=True, samesite="lax",
        secure=deps.consents.base.startswith("https:"),
    )  # fmt: skip
    return shown


@router.post("/{upstream_id}/start")
async def begin(upstream_id: str, request: Request, deps: Deps) -> Response:
    """Confirmed: go to the authorization server."""
    state = request.query_params.get("state", "")
    try:
        browser, body = _browser(request), await request.body()
        proof = parse_qs(body[:_MAX_FORM].decode("ascii", "replace"), max_num_fields=8).get("proof", [""])[0]
        if not browser or not hmac.compare_digest(proof.encode(), _proof(browser, state).encode()):
            raise ConsentRefused("this was not confirmed on its page, in this browser")
        place = await deps.consents.begin(upstream_id, state, browser)
    except InterlockError as error:
        return _refused(error)
    except ValueError:
        return _refused(ConsentRefused("this is no form of ours"))
    return Response(status_code=303, headers={"Location": place, **page_headers()})


def _browser(request: Request) -> str:
    """The random value that tells this browser from others; empty where it has none."""
    value = request.cookies.get(_COOKIE, "")
    return value if _VALUE.fullmatch(value) else ""


def _proof(browser: str, state: str) -> str:
    """What only a page shown to this browser can send: it cannot be made without the cookie."""
    return hmac.new(browser.encode(), state.encode(), hashlib.sha256).hexdigest()


def _refused(error: InterlockError) -> Response:
    return page("This did not work", f"<p>{escape(error.detail)}</p>", error.status)
