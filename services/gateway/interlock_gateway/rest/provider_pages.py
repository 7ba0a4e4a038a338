"""Logging in with an OpenID provider, as a browser sees it: off to the provider, and back with what it says.

Auth begins and ends each login; here is kept only which browser it is, by the cookie that its forms are proven with.
"""

from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from interlock_common.errors import InterlockError
from interlock_common.messages import subjects
from interlock_common.messages.issuers import (
    FinishProviderLogin,
    LoginOffer,
    ProviderLogin,
    ProviderSession,
    StartProviderLogin,
)
from interlock_gateway.rest.browser import BROWSER, SESSION, Query, cookie, form_to, go_to, proof, query_of, refused
from interlock_gateway.rest.browser import require_proof as require
from interlock_gateway.rest.dependencies import Deps, RestDependencies, public_url
from interlock_gateway.rest.oauth_requests import form
from interlock_gateway.rest.pages import page

_SECONDS = 20.0  # auth asks the provider twice
_AGAIN = "again"

router = APIRouter(prefix="/oauth", include_in_schema=False)


@router.post("/login/{name}")
async def begin(name: str, request: Request, deps: Deps) -> Response:
    """Off to the provider ``name``, and then on with what was asked for."""
    try:
        query, browser = query_of(request), cookie(request, deps, BROWSER)
        require(request, browser, f"login {name}", query, await form(request))
        asked = StartProviderLogin(name, browser, urlencode(query), f"{public_url(request)}/oauth/callback")
        login = await deps.bus.request(subjects.AUTH_PROVIDER_START, asked, ProviderLogin, timeout=_SECONDS)
    except InterlockError as error:
        return refused(error)
    return go_to(login.location)


@router.get("/callback")
async def finish(request: Request, deps: Deps) -> Response:
    """Back from the provider."""
    try:
        query, browser = query_of(request), cookie(request, deps, BROWSER)
        if not browser and deps.oauth.cookies.same_site == "strict" and _AGAIN not in query:
            return _once_more(query)
        said = FinishProviderLogin(
            query.get("state", ""), browser, query.get("code", ""), query.get("iss", ""), query.get("error", "")[:100]
        )
        session = await deps.bus.request(subjects.AUTH_PROVIDER_FINISH, said, ProviderSession, timeout=_SECONDS)
    except InterlockError as error:
        return refused(error)
    going = go_to(f"/oauth/authorize?{session.query}")
    deps.oauth.cookies.put(going, SESSION, session.session, seconds=session.lifetime)
    return going


def buttons(deps: RestDependencies, query: Query, browser: str) -> str:
    """A form for each provider with which one can log in."""
    return "".join(
        f"{form_to(f'login/{name}', query, proof(browser, f'login {name}', query))}"
        f"<p><button>Log in with {escape(offer.title)}</button></p></form>"
        for name, offer in _offers(deps).items()
    )


def origins(deps: RestDependencies) -> str:
    """Where the forms of a login page may lead: browsers hold what a form leads on to it too."""
    return " ".join(("'self'", *sorted({offer.origin for offer in _offers(deps).values()})))


def _offers(deps: RestDependencies) -> Mapping[str, LoginOffer]:
    issuers = () if deps.issuers is None else deps.issuers.items.values()
    return {each.name: each.login for each in sorted(issuers, key=lambda each: each.name) if each.login is not None}


def _once_more(query: Query) -> Response:
    """Strict cookies do not come with a browser that another site sent, but with one that a page of ours sends on."""
    place = escape(f"/oauth/callback?{urlencode(query | {_AGAIN: '1'})}", quote=True)
    return page("Logging in", f'<meta http-equiv="refresh" content="0;url={place}"><p><a href="{place}">Go on</a></p>')
