"""``/admin/migration``: by which credentials clients come in, while they go from tokens to certificates."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from interlock_common.messages import subjects
from interlock_common.messages.credential_uses import MOST_DAYS, AskMigration, MigrationReport
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says

router = APIRouter(tags=["administration"])


@router.get("/admin/migration", responses=says(MigrationReport), summary="Show which clients still come with tokens")
async def migration(
    actor: CurrentActor, deps: Deps, days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 30
) -> Response:
    """Needs the permission admin.security_audit; edges tell every ten seconds."""
    return answer(await deps.bus.request(subjects.AUTH_CREDENTIAL_REPORT, AskMigration(actor, days), MigrationReport))
