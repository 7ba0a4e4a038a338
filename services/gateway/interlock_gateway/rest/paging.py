"""Pages of lists: a cursor that means something to this gateway only, and the way to the page after it."""

import base64
import binascii
from typing import Annotated

import msgspec
from fastapi import Query, Request

from interlock_common.errors import InvalidInput

type Cursor = Annotated[str | None, Query(max_length=8192, description="what the `Link` of the page before said")]
type Limit = Annotated[int, Query(ge=1, le=200)]
type LongLimit = Annotated[int, Query(ge=1, le=1000)]

_place = msgspec.json.Decoder(tuple[str, ...])


def encode(*place: str) -> str:
    """The cursor of the page that begins after ``place``."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode(cursor: str | None, parts: int) -> tuple[str, ...] | None:
    """The place that a cursor of ``encode`` stands for; raises InvalidInput for anything else."""
    if cursor is None:
        return None
    try:
        place = _place.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.DecodeError, ValueError):
        place = ()
    if len(place) != parts:
        raise InvalidInput("the cursor is not one of this list", field="cursor")
    return place


def next_page(request: Request, cursor: str | None) -> dict[str, str]:
    """The header that leads to the page after this one (RFC 8288), with the same filters."""
    if cursor is None:
        return {}
    url = request.url.include_query_params(cursor=cursor)
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}
