"""Machines and the autoscaler: `/api/v1/machines`, `/api/v1/autoscaler`. What machines say while they boot is in consoles.py.

GET  machines, machines/{id}, autoscaler
POST autoscaler/pause, autoscaler/resume       DELETE machines/{id}
"""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.web.api.answers import ListQuery, Order, Views, body_of, changed, done, router_of, said
from clusterodm.services.admin.web.core.machine_views import AutoscalerView, MachineDetail, MachineRow, autoscaler_view
from clusterodm.services.admin.web.core.views import ActDone, ListPage
from clusterodm.services.admin.web.handlers.reading import ClusterReader


class PauseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the autoscaler is to pause."""

    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


def machine_routes(bus: Bus, reader: ClusterReader, views: Views) -> list[APIRouter]:
    """Make all routes."""
    return [machine_list_routes(bus, reader, views), autoscaler_routes(bus, reader, views)]


def machine_list_routes(bus: Bus, reader: ClusterReader, views: Views) -> APIRouter:
    """Serve machines."""
    router = router_of("machines")

    @router.get("/machines", summary="Machines", **views.described(ListPage[MachineRow]))
    async def machines(
        wanted: ListQuery,
        ended: bool = False,
        sort: Literal["number", "name", "state", "age", "cost"] = "number",
        order: Order = "asc",
    ) -> Response:
        return said(await reader.machines(changed(wanted, None, sort, order), ended=ended))

    @router.get("/machines/{machine}", summary="All that is known of a machine", **views.described(MachineDetail, 404))
    async def one(machine: str) -> Response:
        return said(await reader.machine(machine))

    @router.delete("/machines/{machine}", summary="ASR DESTROY", **views.described(ActDone, 403, 404, 409))
    async def destroy(machine: str) -> Response:
        return done(await execute(bus, commands.DestroyMachineCommand(machine=MachineId(machine))))

    return router


def autoscaler_routes(bus: Bus, reader: ClusterReader, views: Views) -> APIRouter:
    """Serve the autoscaler."""
    router = router_of("machines")

    @router.get("/autoscaler", summary="ASR STATUS", **views.described(AutoscalerView))
    async def status() -> Response:
        return said(autoscaler_view(await reader.watched.autoscaler()))

    @router.post("/autoscaler/pause", summary="ASR PAUSE", **views.described(ActDone, 409, body=PauseBody))
    async def pause(request: Request) -> Response:
        body = await body_of(request, PauseBody)
        return done(await execute(bus, commands.PauseAutoscalerCommand(body.reason)))

    @router.post("/autoscaler/resume", summary="ASR RESUME", **views.described(ActDone, 403, 409))
    async def resume() -> Response:
        return done(await execute(bus, commands.ResumeAutoscalerCommand()))

    return router
