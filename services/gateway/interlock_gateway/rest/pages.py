"""Small pages for browsers: no scripts, no frames, nothing of what others wrote left unescaped."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape

from fastapi import Response

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem;color:#1c2733}"
    "h1{font-size:1.3rem}dt{color:#5a6876}dd{margin:0 0 .8rem;font-weight:600;overflow-wrap:anywhere}"
    "button{font:inherit;padding:.5rem 1.2rem;border:0;border-radius:.4rem;background:#0b6e4f;color:#fff}"
)
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def facts(shown: Mapping[str, str]) -> str:
    """A list of what is the case, escaped."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in shown.items())
    return f"<dl>{rows}</dl>"


def page(title: str, body: str, status: int = 200, *, form_action: str = "'self'") -> Response:
    """A page; ``body`` is HTML, ``form_action`` says where its forms may lead in the end."""
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - Interlock</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return Response(document, status, page_headers(form_action), "text/html; charset=utf-8")


def page_headers(form_action: str = "'self'") -> dict[str, str]:
    """No scripts, no frames, nothing of the address passed on to other sites."""
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; "
        f"form-action {form_action}; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # without one browsers send Origin: null with a form
        "Cache-Control": "no-store",
    }
