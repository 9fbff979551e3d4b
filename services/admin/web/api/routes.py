"""The original's `/r/...` paths and answers, and ours of the same kind: for scripts that know them. What is new is in v1.py.

    GET    /r/info                       GET    /r/node/list              GET   /r/task/list
    POST   /r/node/add                   {hostname, port, token?}         {"success": true} or {"error": "Invalid", "reason"}
    POST   /r/node/lock|unlock           {number, name?}                  true or false; no number: 403
    DELETE /r/node                       {number, name?}                  the same
    POST   /r/task/cancel|remove         {uuid}                           {"success": true} or {"success": false, "error"}
    GET    /r/asr/status                 GET    /r/machine/list
    POST   /r/asr/pause|resume           {reason?}                        as of a task
    DELETE /r/machine                    {number, name?}                  as of a task
    POST   /r/log/level                  {level, service?}                as of a task

Whatever changes something needs a header `X-Requested-With`, with any value (web/core/visitors says why).
`GET /r/task/list?last=<count>` cuts the list to what has not ended and the newest, and counts all by state in the header
`X-Task-Counts`. A body that is not called JSON counts as empty (web/core/visitors says why); what is called JSON and is none is a 400. When the
scheduler does not answer, that is a 503 with a sentence. A `?` marks what may be left out.
"""

import asyncio
from collections import Counter
from functools import partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import threaded
from clusterodm.libs.common.untrusted import Malformed, decode_any_json
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.answers import Answer, Declined, Ok, TaskListing, Unavailable
from clusterodm.services.admin.commands.core.command_numbers import node_number
from clusterodm.services.admin.commands.core.command_numbers import port as port_number
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.rendering.answers import document
from clusterodm.services.admin.rendering.tasks import newest
from clusterodm.services.admin.web.core.visitors import is_json

NAME: Final = "ClusterODM"
WRITING: Final = "write a list"
"""Of a hundred thousand tasks: nobody else waits for it."""
LISTS_COUNT: Final = 2
"""Lists of all tasks that are made at the same time: a hundred thousand tasks take a hundred megabytes."""


def original_routes(bus: Bus) -> tuple[APIRouter, ...]:
    """Make the original's routes, and those of the same kind."""
    return read_routes(bus), node_routes(bus), task_routes(bus), autoscaler_routes(bus)


def read_routes(bus: Bus) -> APIRouter:
    """Serve what changes nothing."""
    router = APIRouter(include_in_schema=False)

    @router.get("/r/info")
    async def info() -> Response:
        return JSONResponse({"name": NAME, "version": VERSION})

    @router.get("/r/node/list")
    async def node_list() -> Response:
        return respond(await execute(bus, commands.ListNodesCommand()))

    lists = asyncio.Semaphore(LISTS_COUNT)

    @router.get("/r/task/list")
    async def task_list(last: int | None = None) -> Response:
        async with lists:
            answer = await execute(bus, commands.ListTasksCommand())
            if last is None or not isinstance(answer, TaskListing):
                return await threaded(partial(respond, answer), WRITING)
            return await threaded(partial(cut, answer, last), WRITING)

    return router


def node_routes(bus: Bus) -> APIRouter:
    """Serve what changes nodes."""
    router = APIRouter(include_in_schema=False)

    @router.post("/r/node/add")
    async def node_add(request: Request) -> Response:
        fields = await json_fields(request)
        command = node_to_add(fields)
        if command is None:
            return JSONResponse({"error": "Invalid", "reason": "hostname and port (1 to 65535) are needed"})
        answer = await execute(bus, command)
        if isinstance(answer, Declined):
            return JSONResponse({"error": "Invalid", "reason": answer.reason})
        return respond(answer)

    @router.post("/r/node/lock")
    async def node_lock(request: Request) -> Response:
        return await change_node(bus, NodeAct.LOCK, request)

    @router.post("/r/node/unlock")
    async def node_unlock(request: Request) -> Response:
        return await change_node(bus, NodeAct.UNLOCK, request)

    @router.delete("/r/node")
    async def node_delete(request: Request) -> Response:
        return await change_node(bus, NodeAct.DEL, request)

    return router


def task_routes(bus: Bus) -> APIRouter:
    """Serve what changes tasks."""
    router = APIRouter(include_in_schema=False)

    @router.post("/r/task/cancel")
    async def task_cancel(request: Request) -> Response:
        return await change_task(bus, TaskAct.CANCEL, request)

    @router.post("/r/task/remove")
    async def task_remove(request: Request) -> Response:
        return await change_task(bus, TaskAct.REMOVE, request)

    return router


def autoscaler_routes(bus: Bus) -> APIRouter:
    """Serve what is the autoscaler's."""
    router = APIRouter(include_in_schema=False)

    @router.get("/r/asr/status")
    async def status() -> Response:
        answer = await execute(bus, commands.ShowAutoscalerCommand())
        if isinstance(answer, Unavailable):  # a cluster may do without one: the page asks again and again
            return JSONResponse({"enabled": False, "reason": answer.reason})
        return respond(answer)

    @router.get("/r/machine/list")
    async def machine_list() -> Response:
        return respond(await execute(bus, commands.ListMachinesCommand()))

    @router.post("/r/asr/pause")
    async def pause(request: Request) -> Response:
        reason = (await json_fields(request)).get("reason")
        return respond(await execute(bus, commands.PauseAutoscalerCommand(reason if isinstance(reason, str) else "")))

    @router.post("/r/asr/resume")
    async def resume(request: Request) -> Response:
        await json_fields(request)
        return respond(await execute(bus, commands.ResumeAutoscalerCommand()))

    @router.post("/r/log/level")
    async def log_level(request: Request) -> Response:
        fields = await json_fields(request)
        level, service = str(fields.get("level")), str(fields.get("service") or "")
        return respond(await execute(bus, commands.log_level_command(level, service)))

    @router.delete("/r/machine")
    async def destroy(request: Request) -> Response:
        fields = await json_fields(request)
        number = node_number(str(fields.get("number")))
        return respond(await execute(bus, commands.DestroyMachineCommand(number, str(fields.get("name") or ""))))

    return router


async def change_node(bus: Bus, act: NodeAct, request: Request) -> Response:
    """Lock, unlock or delete a node."""
    fields = await json_fields(request)
    number = fields.get("number")
    if not number:
        return Response(status_code=403)
    answer = await execute(
        bus, commands.ChangeNodeCommand(act, node_number(str(number)), str(fields.get("name") or ""))
    )
    return respond(answer) if isinstance(answer, Unavailable) else JSONResponse(isinstance(answer, Ok))


async def change_task(bus: Bus, act: TaskAct, request: Request) -> Response:
    """Cancel or remove a task."""
    uuid = (await json_fields(request)).get("uuid")
    if not uuid or not isinstance(uuid, str):
        return JSONResponse({"error": "Invalid"})
    return respond(await execute(bus, commands.ChangeTaskCommand(act, TaskId(uuid))))


def node_to_add(fields: dict[str, Any]) -> commands.AddNodeCommand | None:
    """Read a node to be added; None when it is none."""
    hostname, port, token = fields.get("hostname"), port_number(str(fields.get("port"))), fields.get("token") or ""
    if not isinstance(hostname, str) or not hostname.strip() or port is None or not isinstance(token, str):
        return None
    return commands.AddNodeCommand(bare(hostname), port, token)


def cut(answer: TaskListing, count: int) -> Response:
    """Put the newest of many tasks into JSON, and count all."""
    response = respond(TaskListing(newest(answer.tasks, count)))
    counts = Counter(task.state.value for task in answer.tasks)
    response.headers["X-Task-Counts"] = msgspec.json.encode(counts).decode()
    return response


def respond(answer: Answer) -> Response:
    """Put an answer into JSON; 503 when nobody gave one."""
    if isinstance(answer, Unavailable):
        return JSONResponse({"error": answer.reason}, status_code=503)
    return Response(msgspec.json.encode(document(answer)), media_type="application/json")


async def json_fields(request: Request) -> dict[str, Any]:
    """Read the fields of a request; none when it is not called JSON. 400 when it is no JSON object."""
    if not is_json(request.headers):
        return {}
    try:
        found = decode_any_json(await request.body() or b"{}")
    except Malformed:
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "The body is no JSON object.")
    return found
