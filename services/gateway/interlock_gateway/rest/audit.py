"""``/audit``: the tamper-evident record and its proofs, which audit owns."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from interlock_common.messages import subjects
from interlock_common.messages.audit import (
    AskConsistency,
    AskInclusion,
    Checkpoint,
    ConsistencyProof,
    InclusionProof,
    ListRecords,
    RecordList,
    StoredRecord,
)
from interlock_common.messages.common import ById, Page
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says

type Index = Annotated[int | None, Query(ge=0, lt=2**53)]
type Size = Annotated[int, Query(ge=0, lt=2**53)]
type Match = Annotated[str | None, Query(max_length=320)]

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("/records", responses=says(RecordList), summary="List records, newest first or from an index on")
async def list_all(
    actor: CurrentActor,
    deps: Deps,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    before: Index = None,
    after: Index = None,
    principal: Match = None,
    kind: Match = None,
    trace_id: Match = None,
) -> Response:
    request = ListRecords(actor, limit, before, after, principal, kind, trace_id)
    return answer(await deps.bus.request(subjects.AUDIT_RECORD_LIST, request, RecordList))


@router.get("/records/{record_id}", responses=says(StoredRecord), summary="Show a record")
async def show(record_id: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUDIT_RECORD_GET, ById(actor, record_id), StoredRecord))


@router.get("/records/{record_id}/proof", responses=says(InclusionProof), summary="Prove that a record is in the tree")
async def inclusion(record_id: str, actor: CurrentActor, deps: Deps, tree_size: Index = None) -> Response:
    request = AskInclusion(actor, record_id, tree_size)
    return answer(await deps.bus.request(subjects.AUDIT_PROOF_INCLUSION, request, InclusionProof))


@router.get("/checkpoint", responses=says(Checkpoint), summary="Show the newest signed checkpoint")
async def checkpoint(actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUDIT_CHECKPOINT_GET, Page(actor), Checkpoint))


@router.get("/consistency", responses=says(ConsistencyProof), summary="Prove that one tree continues another")
async def consistency(actor: CurrentActor, deps: Deps, old_size: Size, new_size: Size) -> Response:
    request = AskConsistency(actor, old_size, new_size)
    return answer(await deps.bus.request(subjects.AUDIT_PROOF_CONSISTENCY, request, ConsistencyProof))
