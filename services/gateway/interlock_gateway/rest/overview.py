"""``/plugins`` and ``/certificates``: what inspects, and who has proven to be whom."""

from fastapi import APIRouter, Response

from interlock_common.messages import subjects
from interlock_common.messages.certs import LeafList
from interlock_common.messages.common import Page
from interlock_common.messages.plugins import PluginList
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says

router = APIRouter(tags=["overview"])


@router.get("/plugins", responses=says(PluginList), summary="List plugins in the order they run")
async def plugins(actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.PLUGINS_PLUGIN_LIST, Page(actor), PluginList))


@router.get("/certificates", responses=says(LeafList), summary="List the certificates of the services")
async def certificates(actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.CERTS_LEAF_LIST, Page(actor), LeafList))
