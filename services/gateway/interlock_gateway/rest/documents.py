"""The OpenAPI document: answers are message structs, which the framework cannot describe by itself."""

from typing import Any, cast

import msgspec
from fastapi import FastAPI, Response

from interlock_common.problem import MEDIA_TYPE, Problem
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor

_REFERENCE = "#/components/schemas/{name}"
_described: dict[str, type] = {"Problem": Problem}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "a problem document (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}},
    }
}


def says(kind: type, status: int = 200, *, many: bool = False) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that answers a ``kind``, or a list of them."""
    _described[kind.__name__] = kind
    schema: dict[str, Any] = {"$ref": _REFERENCE.format(name=kind.__name__)}
    if many:
        schema = {"type": "array", "items": schema}
    description = (kind.__doc__ or kind.__name__).partition("\n")[0]
    return {status: {"description": description, "content": {"application/json": {"schema": schema}}}}


def install(app: FastAPI) -> None:
    """Serve the document, to those who may use what it describes."""

    async def openapi_document(_actor: CurrentActor) -> Response:
        return answer(document_of(app))

    app.add_api_route("/openapi.json", openapi_document, methods=["GET"], include_in_schema=False)


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = app.openapi()
        _, components = msgspec.json.schema_components(_described.values(), ref_template=_REFERENCE)
        parts = cast("dict[str, Any]", document.setdefault("components", {}))
        parts.setdefault("schemas", {}).update(components)
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        document["security"] = [{"bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema
