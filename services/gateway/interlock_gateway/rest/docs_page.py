"""``/docs`` and ``/redoc``: the routes as a page, for those with a token; it runs no script and loads nothing."""

from html import escape
from typing import Any

from fastapi import FastAPI, Response

from interlock_gateway.rest.dependencies import CurrentActor
from interlock_gateway.rest.documents import document_of

_METHODS = ("get", "post", "put", "patch", "delete")


def install(app: FastAPI) -> None:
    """Serve the page at both addresses that people know."""

    async def page(_actor: CurrentActor) -> Response:
        return Response(_page(document_of(app)), 200, {"Cache-Control": "no-store"}, "text/html; charset=utf-8")

    for path in ("/docs", "/redoc"):
        app.add_api_route(path, page, methods=["GET"], include_in_schema=False)


def _page(document: dict[str, Any]) -> str:
    info = document["info"]
    paths: dict[str, dict[str, Any]] = document["paths"]
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(str(said.get('summary', '')))}</td></tr>"
        for path, of_path in paths.items()
        for method, said in of_path.items()
        if method in _METHODS
    )
    title = escape(f"{info['title']} {info['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>'
        f"<h1>{title}</h1><p>{escape(str(info.get('summary', '')))}</p>"
        f'<p>Bodies and answers are described in <a href="openapi.json">openapi.json</a>.</p>'
        f"<table><tr><th>route</th><th>what it does</th></tr>{rows}</table></body></html>"
    )
