"""`/api/v1`: what pages, scripts and programs of others read and do. Its document is at /api/v1/openapi.json, and to be read at /api/v1/docs.

    GET  overview, samples                         GET  events, events/stream
    GET  tasks, tasks/{id}, queue                  GET  services, settings
                                                   POST services/log-level
    POST tasks/{id}/cancel, tasks/{id}/restart, tasks/{id}/up, tasks/{id}/priority     DELETE tasks/{id}
    GET  nodes, nodes/{id}
    POST nodes, nodes/probe, nodes/{id}/lock, nodes/{id}/unlock, nodes/{id}/drain, nodes/{id}/labels    DELETE nodes/{id}

What is about machines is in machines.py, about tenants in tenants.py, and what is read line by line in consoles.py. What changes something is a command, as telnet and the command line give it (admin/commands).
"""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.messages.operators import LogLevel
from clusterodm.libs.common.model.nodes import labels_of
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.tenancy import HIGHEST_PRIORITY
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.web.api.answers import (
    Labels,
    ListQuery,
    Order,
    Text,
    Views,
    body_of,
    changed,
    done,
    router_of,
    said,
)
from clusterodm.services.admin.web.api.consoles import console_routes
from clusterodm.services.admin.web.api.live import event_stream, last_of
from clusterodm.services.admin.web.api.machines import machine_routes
from clusterodm.services.admin.web.core.cluster_views import EventRow, OverviewView, SeriesView, SettingRow
from clusterodm.services.admin.web.core.node_views import NodeRow
from clusterodm.services.admin.web.core.services import ServiceListing
from clusterodm.services.admin.web.core.task_views import TasksPage, TaskView
from clusterodm.services.admin.web.core.views import ActDone, ListPage
from clusterodm.services.admin.web.handlers.overview import OverviewHandler
from clusterodm.services.admin.web.handlers.reading import ClusterReader

TaskStates = Literal["uploading", "waiting", "forwarding", "running", "completed", "failed", "canceled"]
NodeStates = Literal["online", "offline", "locked", "draining"]
Kinds = Literal["task", "node", "machine", "operator"]
Sources = Literal["flag", "environment", "file", "given", "default"]


class AddNodeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node to be registered."""

    hostname: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 3000
    token: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    labels: Labels = ()
    locked: bool = False


class LabelsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The labels that a node is to have; those that are not named it has no more."""

    labels: Labels


class DrainBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a node is to be drained."""

    deadline_s: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] | None = None
    """After so many seconds, tasks that wait there for their turn are moved."""


class PriorityBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The priority that a task is to have, besides its tenant's; 0: as usual."""

    priority: Annotated[int, msgspec.Meta(ge=-HIGHEST_PRIORITY, le=HIGHEST_PRIORITY)]


class LogLevelBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be logged from now on."""

    level: LogLevel
    service: Literal["", "proxy", "scheduler", "autoscaler", "admin"] = ""
    """Empty: all of them."""


def api_routes(bus: Bus, reader: ClusterReader, overviews: OverviewHandler, views: Views) -> list[APIRouter]:
    """Make all routes."""
    return [
        overview_routes(reader, overviews, views),
        log_routes(bus, views),
        task_reading(reader, views),
        *console_routes(reader, views),
        task_acts(bus, views),
        node_reading(reader, views),
        node_acts(bus, views),
        *machine_routes(bus, reader, views),
    ]


def overview_routes(reader: ClusterReader, overviews: OverviewHandler, views: Views) -> APIRouter:
    """Serve what is about the whole cluster."""
    router = router_of("cluster")

    @router.get("/overview", summary="The cluster at a glance", **views.described(OverviewView))
    async def overview() -> Response:
        return said(await overviews.overview())

    @router.get("/samples", summary="What plots show of the last hour, day or week", **views.described(SeriesView))
    async def samples(range: Literal["1h", "24h", "7d"] = "1h") -> Response:  # noqa: A002 the parameter's name
        return said(await overviews.series(range))

    @router.get("/events", summary="What has happened, the newest first", **views.described(ListPage[EventRow]))
    async def events(
        wanted: ListQuery,
        kind: Annotated[list[Kinds] | None, Query()] = None,
        task: Text = "",
        node: Text = "",
        machine: Text = "",
    ) -> Response:
        return said(await reader.events(changed(wanted, kind), task=task, node=node, machine=machine))

    @router.get("/events/stream", summary="What happens, as server-sent events", **views.text("text/event-stream"))
    async def stream(last_event_id: Annotated[str, Header()] = "") -> Response:
        return StreamingResponse(event_stream(reader.watched, last_of(last_event_id)), media_type="text/event-stream")

    @router.get("/services", summary="How the services are", **views.described(ServiceListing))
    async def services() -> Response:
        return said(await overviews.services())

    @router.get("/settings", summary="The settings in force", **views.described(ListPage[SettingRow]))
    async def settings(wanted: ListQuery, source: Annotated[list[Sources] | None, Query()] = None) -> Response:
        return said(await overviews.settings(changed(wanted, source)))

    return router


def log_routes(bus: Bus, views: Views) -> APIRouter:
    """Serve what services log."""
    router = router_of("cluster")

    @router.post("/services/log-level", summary="LOG LEVEL", **views.described(ActDone, body=LogLevelBody))
    async def log_level(request: Request) -> Response:
        body = await body_of(request, LogLevelBody)
        return done(await execute(bus, commands.SetLogLevelCommand(body.level, body.service)))

    return router


def task_reading(reader: ClusterReader, views: Views) -> APIRouter:
    """Serve tasks."""
    router = router_of("tasks")

    @router.get("/tasks", summary="Tasks, and uploads that are to become some", **views.described(TasksPage))
    async def tasks(  # noqa: PLR0913, PLR0917 what a list may be asked for
        wanted: ListQuery,
        state: Annotated[list[TaskStates] | None, Query()] = None,
        node: Text = "",
        since_ms: Annotated[int, Query(ge=0, le=2**53)] = 0,
        sort: Literal["committed", "ended", "name", "images", "processing_time"] = "committed",
        order: Order = "desc",
    ) -> Response:
        return said(await reader.tasks(changed(wanted, state, sort, order), node, since_ms))

    @router.get("/queue", summary="Waiting tasks in their order, and why they wait", **views.described(TasksPage))
    async def queue(wanted: ListQuery) -> Response:
        return said(await reader.queue(wanted))

    @router.get("/tasks/{task}", summary="All that is known of a task", **views.described(TaskView, 404))
    async def one(request: Request, task: str) -> Response:
        return said(await reader.task(task, request.url.hostname or ""))

    return router


def task_acts(bus: Bus, views: Views) -> APIRouter:
    """Serve what changes tasks."""
    router = router_of("tasks")

    @router.post("/tasks/{task}/cancel", summary="TASK CANCEL", **views.described(ActDone, 403, 404, 409))
    async def cancel(task: str) -> Response:
        return done(await execute(bus, commands.ChangeTaskCommand(TaskAct.CANCEL, TaskId(task))))

    @router.post("/tasks/{task}/restart", summary="TASK RESTART", **views.described(ActDone, 403, 404, 409))
    async def restart(task: str) -> Response:
        return done(await execute(bus, commands.ChangeTaskCommand(TaskAct.RESTART, TaskId(task))))

    @router.post("/tasks/{task}/up", summary="TASK UP", **views.described(ActDone, 403, 404, 409))
    async def up(task: str) -> Response:
        return done(await execute(bus, commands.ChangeTaskCommand(TaskAct.UP, TaskId(task))))

    @router.post("/tasks/{task}/priority", summary="TASK PRIORITY", **views.described(ActDone, 404, 409, body=PriorityBody))  # fmt: skip
    async def priority(task: str, request: Request) -> Response:
        body = await body_of(request, PriorityBody)
        return done(await execute(bus, commands.PrioritizeTaskCommand(TaskId(task), body.priority)))

    @router.delete("/tasks/{task}", summary="TASK REMOVE", **views.described(ActDone, 403, 404, 409))
    async def remove(task: str) -> Response:
        return done(await execute(bus, commands.ChangeTaskCommand(TaskAct.REMOVE, TaskId(task))))

    return router


def node_reading(reader: ClusterReader, views: Views) -> APIRouter:
    """Serve nodes."""
    router = router_of("nodes")

    @router.get("/nodes", summary="Nodes", **views.described(ListPage[NodeRow]))
    async def nodes(
        wanted: ListQuery,
        state: Annotated[list[NodeStates] | None, Query()] = None,
        sort: Literal["number", "name", "state", "slots", "pace", "memory", "max_images", "version"] = "number",
        order: Order = "asc",
    ) -> Response:
        return said(await reader.nodes(changed(wanted, state, sort, order)))

    @router.get("/nodes/{node}", summary="A node", **views.described(NodeRow, 404))
    async def one(node: str) -> Response:
        return said(await reader.node(node))

    return router


def node_acts(bus: Bus, views: Views) -> APIRouter:
    """Serve what changes nodes."""
    router = router_of("nodes")

    @router.post("/nodes", summary="NODE ADD", **views.described(ActDone, 409, body=AddNodeBody))
    async def add(request: Request) -> Response:
        body = await body_of(request, AddNodeBody)
        command = commands.AddNodeCommand(
            bare(body.hostname), body.port, body.token, labels_of(body.labels), body.locked
        )
        return done(await execute(bus, command))

    @router.post("/nodes/probe", summary="NODE UPDATE", **views.described(ActDone, 403))
    async def probe() -> Response:
        return done(await execute(bus, commands.UpdateNodesCommand()))

    @router.post("/nodes/{node}/lock", summary="NODE LOCK", **views.described(ActDone, 403, 404, 409))
    async def lock(node: str) -> Response:
        return done(await execute(bus, commands.ChangeNodeCommand(NodeAct.LOCK, node=NodeId(node))))

    @router.post("/nodes/{node}/unlock", summary="NODE UNLOCK", **views.described(ActDone, 403, 404, 409))
    async def unlock(node: str) -> Response:
        return done(await execute(bus, commands.ChangeNodeCommand(NodeAct.UNLOCK, node=NodeId(node))))

    @router.post("/nodes/{node}/drain", summary="NODE DRAIN", **views.described(ActDone, 404, 409, body=DrainBody))
    async def drain(node: str, request: Request) -> Response:
        body = await body_of(request, DrainBody)
        return done(await execute(bus, commands.DrainNodeCommand(deadline_s=body.deadline_s, node=NodeId(node))))

    @router.post("/nodes/{node}/labels", summary="NODE LABEL", **views.described(ActDone, 404, 409, body=LabelsBody))
    async def label(node: str, request: Request) -> Response:
        labels = labels_of((await body_of(request, LabelsBody)).labels)
        return done(await execute(bus, commands.LabelNodeCommand(labels=labels, node=NodeId(node))))

    @router.delete("/nodes/{node}", summary="NODE DEL", **views.described(ActDone, 403, 404, 409))
    async def delete(node: str) -> Response:
        return done(await execute(bus, commands.ChangeNodeCommand(NodeAct.DEL, node=NodeId(node))))

    return router
