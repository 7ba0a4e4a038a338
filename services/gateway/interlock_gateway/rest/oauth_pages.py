"""The authorization endpoint as a browser sees it: log in, decide, return to the client (RFC 6749, section 4.1)."""

import secrets
from html import escape
from urllib.parse import urlencode, urlsplit

import msgspec
from fastapi import APIRouter, Request, Response

from interlock_common.errors import InterlockError
from interlock_common.messages import subjects
from interlock_common.messages.common import Empty
from interlock_common.messages.oauth import Authorization, Authorize, BrowserSession, EndSession, StartSession
from interlock_gateway.rest.browser import (
    BROWSER,
    BROWSER_SECONDS,
    SESSION,
    Query,
    cookie,
    form_to,
    go_to,
    proof,
    query_of,
    refused,
    require_proof,
)
from interlock_gateway.rest.client_documents import DocumentRefused
from interlock_gateway.rest.dependencies import Deps, RestDependencies, public_url
from interlock_gateway.rest.oauth_requests import form, target
from interlock_gateway.rest.pages import facts, page
from interlock_gateway.rest.provider_pages import buttons, origins

_SECONDS = 15.0

router = APIRouter(prefix="/oauth", include_in_schema=False)


@router.get("/authorize")
async def show(request: Request, deps: Deps) -> Response:
    """Ask for a login or a decision; nothing is granted yet."""
    try:
        query = query_of(request)
        answer = await _ask(request, deps, query, None)
    except InterlockError as error:
        return refused(error)
    if answer.error:
        return _back(request, query, answer)
    if not answer.principal:
        return _login_page(request, deps, query)
    return _consent_page(deps, request, query, answer)


@router.post("/authorize")
async def decide(request: Request, deps: Deps) -> Response:
    """The user decided, on the page that says what about."""
    try:
        query = query_of(request)
        said = await form(request)
        session = cookie(request, deps, SESSION)
        require_proof(request, session, "consent", query, said)
        answer = await _ask(request, deps, query, approved=said.get("decision") == "allow")
    except InterlockError as error:
        return refused(error)
    if not answer.code and not answer.error:  # the session ended meanwhile
        return _login_page(request, deps, query)
    return _back(request, query, answer)


@router.post("/login")
async def login(request: Request, deps: Deps) -> Response:
    """Log in, and go on with what was asked for."""
    try:
        query = query_of(request)
        said = await form(request)
        require_proof(request, cookie(request, deps, BROWSER), "login", query, said)
    except InterlockError as error:
        return refused(error)
    asked = StartSession(said.get("email", ""), said.get("password", ""))
    try:
        session = await deps.bus.request(subjects.AUTH_OAUTH_LOGIN, asked, BrowserSession, timeout=_SECONDS)
    except InterlockError as error:
        return _login_page(request, deps, query, error)
    going = go_to(f"/oauth/authorize?{urlencode(query)}")
    deps.oauth.cookies.put(going, SESSION, session.session, seconds=session.lifetime)
    return going


@router.post("/logout")
async def logout(request: Request, deps: Deps) -> Response:
    """End the session, here and on the server."""
    try:
        query = query_of(request)
        session = cookie(request, deps, SESSION)
        require_proof(request, session, "logout", query, await form(request))
        await deps.bus.request(subjects.AUTH_OAUTH_LOGOUT, EndSession(session), Empty)
    except InterlockError as error:
        return refused(error)
    going = page("Logged out", "<p>You may close this page.</p>")
    if query:
        going = go_to(f"/oauth/authorize?{urlencode(query)}")
    deps.oauth.cookies.remove(going, SESSION)
    return going


async def _ask(request: Request, deps: RestDependencies, query: Query, approved: bool | None) -> Authorization:  # noqa: FBT001 - three answers
    resource = target(request, query.get("resource", ""))
    asked = Authorize(
        client_id=query.get("client_id", ""), redirect_uri=query.get("redirect_uri", ""),
        response_type=query.get("response_type", ""), code_challenge=query.get("code_challenge", ""),
        code_challenge_method=query.get("code_challenge_method", ""), scope=query.get("scope", ""),
        audience=resource.audience, server_id=resource.server_id, session=cookie(request, deps, SESSION),
        approved=approved,
    )  # fmt: skip
    answer = await deps.bus.request(subjects.AUTH_OAUTH_AUTHORIZE, asked, Authorization)
    if not answer.wants_document:
        return answer
    if deps.oauth.documents is None:
        raise DocumentRefused("clients are not described by documents here")
    document = await deps.oauth.documents.of(asked.client_id)
    described = msgspec.structs.replace(asked, document=document)
    return await deps.bus.request(subjects.AUTH_OAUTH_AUTHORIZE, described, Authorization)


def _login_page(
    request: Request, deps: RestDependencies, query: Query, error: InterlockError | None = None
) -> Response:
    browser = cookie(request, deps, BROWSER) or secrets.token_urlsafe(32)
    told = f'<p role="alert">{escape(error.detail)}</p>' if error is not None else ""
    body = (
        f"{told}<p>An application asks for access to this gateway. Log in to see which, and to decide.</p>"
        f"{form_to('login', query, proof(browser, 'login', query))}"
        '<p><label>E-mail<br><input name="email" type="email" required autofocus autocomplete="username"></label></p>'
        '<p><label>Password<br><input name="password" type="password" required autocomplete="current-password">'
        f"</label></p><button>Log in</button></form>{buttons(deps, query, browser)}"
    )
    shown = page("Log in", body, 200 if error is None else error.status, form_action=origins(deps))
    if error is not None and "retry_after" in error.fields:
        shown.headers["Retry-After"] = str(error.fields["retry_after"])
    deps.oauth.cookies.put(shown, BROWSER, browser, seconds=BROWSER_SECONDS)
    return shown


def _consent_page(deps: RestDependencies, request: Request, query: Query, answer: Authorization) -> Response:
    session = cookie(request, deps, SESSION)
    place = urlsplit(answer.redirect_uri)
    about = facts({
        "Application": answer.client_name,
        "Goes back to": place.netloc or f"{place.scheme}:",
        "On behalf of": answer.principal,
        "For": query.get("resource") or f"{public_url(request)}/mcp",
        "May": ", ".join(answer.scopes),
    })  # fmt: skip
    body = (
        f"{about}<p>Go on only if you have just asked for this yourself, in that application: its name is its own word."
        f"</p>{form_to('authorize', query, proof(session, 'consent', query))}"
        '<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button></form>'
        f"{form_to('logout', query, proof(session, 'logout', query))}<p>Not you? <button>Log out</button></p></form>"
    )
    there = f"{place.scheme}://{place.netloc}" if place.scheme in {"http", "https"} else f"{place.scheme}:"
    return page("Give access", body, form_action=f"'self' {there}")  # browsers hold what a form leads on to it too


def _back(request: Request, query: Query, answer: Authorization) -> Response:
    """To the client, with a code or an error, and with who says so (RFC 9207)."""
    said = {"code": answer.code} if answer.code else {"error": answer.error}
    if answer.error_description:
        said["error_description"] = answer.error_description
    if "state" in query:
        said["state"] = query["state"]
    said["iss"] = public_url(request)
    joint = "&" if "?" in answer.redirect_uri else "?"
    return go_to(f"{answer.redirect_uri}{joint}{urlencode(said)}")
