"""The authorization endpoint as a browser sees it: log in, decide, and go back to the client (RFC 6749, section 4.1).

A form counts only from a page that was shown to this browser: it has a proof that nobody makes without the cookie.
"""

import hashlib
import hmac
import re
import secrets
from html import escape
from urllib.parse import urlencode, urlsplit

import msgspec
from fastapi import APIRouter, Request, Response

from interlock_common.errors import InterlockError, PermissionDenied
from interlock_common.messages import subjects
from interlock_common.messages.common import Empty
from interlock_common.messages.oauth import Authorization, Authorize, BrowserSession, EndSession, StartSession
from interlock_gateway.rest.client_documents import DocumentRefused
from interlock_gateway.rest.dependencies import Deps, RestDependencies, public_url
from interlock_gateway.rest.oauth_requests import RequestRefused, form, parameters, target
from interlock_gateway.rest.pages import facts, page, page_headers

_SESSION, _BROWSER = "interlock-session", "interlock-browser"
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_QUERY = 8192
_MAX_STATE = 2048
_BROWSER_SECONDS = 3600
_SECONDS = 15.0
_SEE_OTHER = 303

type Query = dict[str, str]

router = APIRouter(prefix="/oauth", include_in_schema=False)


class ProofMissing(PermissionDenied):
    """A form that was not sent from its page, in this browser."""

    code = "csrf"


@router.get("/authorize")
async def show(request: Request, deps: Deps) -> Response:
    """Ask for a login or a decision; nothing is granted yet."""
    try:
        query = _query(request)
        answer = await _ask(request, deps, query, None)
    except InterlockError as error:
        return _refused(error)
    if answer.error:
        return _back(request, query, answer)
    if not answer.principal:
        return _login_page(request, deps, query)
    return _consent_page(deps, request, query, answer)


@router.post("/authorize")
async def decide(request: Request, deps: Deps) -> Response:
    """The user decided, on the page that says what about."""
    try:
        query = _query(request)
        said = await form(request)
        session = _cookie(request, deps, _SESSION)
        _require_proof(request, session, "consent", query, said)
        answer = await _ask(request, deps, query, approved=said.get("decision") == "allow")
    except InterlockError as error:
        return _refused(error)
    if not answer.code and not answer.error:  # the session ended meanwhile
        return _login_page(request, deps, query)
    return _back(request, query, answer)


@router.post("/login")
async def login(request: Request, deps: Deps) -> Response:
    """Log in, and go on with what was asked for."""
    try:
        query = _query(request)
        said = await form(request)
        _require_proof(request, _cookie(request, deps, _BROWSER), "login", query, said)
    except InterlockError as error:
        return _refused(error)
    asked = StartSession(said.get("email", ""), said.get("password", ""))
    try:
        session = await deps.bus.request(subjects.AUTH_OAUTH_LOGIN, asked, BrowserSession, timeout=_SECONDS)
    except InterlockError as error:
        return _login_page(request, deps, query, error)
    going = _go_to(f"/oauth/authorize?{urlencode(query)}")
    deps.oauth.cookies.put(going, _SESSION, session.session, seconds=session.lifetime)
    return going


@router.post("/logout")
async def logout(request: Request, deps: Deps) -> Response:
    """End the session, here and on the server."""
    try:
        query = _query(request)
        session = _cookie(request, deps, _SESSION)
        _require_proof(request, session, "logout", query, await form(request))
        await deps.bus.request(subjects.AUTH_OAUTH_LOGOUT, EndSession(session), Empty)
    except InterlockError as error:
        return _refused(error)
    going = page("Logged out", "<p>You may close this page.</p>")
    if query:
        going = _go_to(f"/oauth/authorize?{urlencode(query)}")
    deps.oauth.cookies.remove(going, _SESSION)
    return going


async def _ask(request: Request, deps: RestDependencies, query: Query, approved: bool | None) -> Authorization:  # noqa: FBT001 - three answers
    resource = target(request, query.get("resource", ""))
    asked = Authorize(
        client_id=query.get("client_id", ""), redirect_uri=query.get("redirect_uri", ""),
        response_type=query.get("response_type", ""), code_challenge=query.get("code_challenge", ""),
        code_challenge_method=query.get("code_challenge_method", ""), scope=query.get("scope", ""),
        audience=resource.audience, server_id=resource.server_id, session=_cookie(request, deps, _SESSION),
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


def _query(request: Request) -> Query:
    if len(request.url.query) > _MAX_QUERY:
        raise RequestRefused(f"the query has at most {_MAX_QUERY} bytes")
    query = parameters(request.url.query)
    if len(query.get("state", "")) > _MAX_STATE:
        raise RequestRefused(f"state has at most {_MAX_STATE} characters")
    return query


def _cookie(request: Request, deps: RestDependencies, name: str) -> str:
    value = request.cookies.get(deps.oauth.cookies.name(name), "")
    return value if _VALUE.fullmatch(value) else ""


def _proof(secret: str, purpose: str, query: Query) -> str:
    return hmac.new(secret.encode(), f"{purpose}\n{urlencode(query)}".encode(), hashlib.sha256).hexdigest()


def _require_proof(request: Request, secret: str, purpose: str, query: Query, said: Query) -> None:
    """Raise ProofMissing for a form that came from anywhere but its page in this browser."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise ProofMissing("this form was sent by another site")
    if not secret or not hmac.compare_digest(said.get("proof", "").encode(), _proof(secret, purpose, query).encode()):
        raise ProofMissing("this was not sent from its page, in this browser: go back and try again")


def _login_page(
    request: Request, deps: RestDependencies, query: Query, error: InterlockError | None = None
) -> Response:
    browser = _cookie(request, deps, _BROWSER) or secrets.token_urlsafe(32)
    told = f'<p role="alert">{escape(error.detail)}</p>' if error is not None else ""
    body = (
        f"{told}<p>An application asks for access to this gateway. Log in to see which, and to decide.</p>"
        f"{_form('login', query, _proof(browser, 'login', query))}"
        '<p><label>E-mail<br><input name="email" type="email" required autofocus autocomplete="username"></label></p>'
        '<p><label>Password<br><input name="password" type="password" required autocomplete="current-password">'
        "</label></p><button>Log in</button></form>"
    )
    shown = page("Log in", body, 200 if error is None else error.status)
    if error is not None and "retry_after" in error.fields:
        shown.headers["Retry-After"] = str(error.fields["retry_after"])
    deps.oauth.cookies.put(shown, _BROWSER, browser, seconds=_BROWSER_SECONDS)
    return shown


def _consent_page(deps: RestDependencies, request: Request, query: Query, answer: Authorization) -> Response:
    session = _cookie(request, deps, _SESSION)
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
        f"</p>{_form('authorize', query, _proof(session, 'consent', query))}"
        '<button name="decision" value="allow">Allow</button> <button name="decision" value="deny">Deny</button></form>'
        f"{_form('logout', query, _proof(session, 'logout', query))}<p>Not you? <button>Log out</button></p></form>"
    )
    there = f"{place.scheme}://{place.netloc}" if place.scheme in {"http", "https"} else f"{place.scheme}:"
    return page("Give access", body, form_action=f"'self' {there}")  # browsers hold what a form leads on to it too


def _form(where: str, query: Query, proof: str) -> str:
    action = escape(f"/oauth/{where}?{urlencode(query)}", quote=True)
    return f'<form method="post" action="{action}"><input type="hidden" name="proof" value="{proof}">'


def _back(request: Request, query: Query, answer: Authorization) -> Response:
    """To the client, with a code or an error, and with who says so (RFC 9207)."""
    said = {"code": answer.code} if answer.code else {"error": answer.error}
    if answer.error_description:
        said["error_description"] = answer.error_description
    if "state" in query:
        said["state"] = query["state"]
    said["iss"] = public_url(request)
    joint = "&" if "?" in answer.redirect_uri else "?"
    return _go_to(f"{answer.redirect_uri}{joint}{urlencode(said)}")


def _go_to(place: str) -> Response:
    return Response(status_code=_SEE_OTHER, headers={"Location": place, **page_headers()})


def _refused(error: InterlockError) -> Response:
    return page("This did not work", f"<p>{escape(error.detail)}</p>", error.status)
