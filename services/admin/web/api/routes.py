"""The web page of nodes, machines and tasks, and the JSON behind it: the original's `/r/...` paths and answers, and ours.

    GET    /r/info                       GET    /r/node/list              GET   /r/task/list
    POST   /r/node/add                   {hostname, port, token?}         {"success": true} or {"error": "Invalid", "reason"}
    POST   /r/node/lock|unlock           {number, name?}                  true or false; no number: 403
    DELETE /r/node                       {number, name?}                  the same
    POST   /r/task/cancel|remove         {uuid}                           {"success": true} or {"success": false, "error"}
    GET    /r/asr/status                 GET    /r/machine/list
    POST   /r/asr/pause|resume           {reason?}                        {"success": true} or {"success": false, "error"}
    DELETE /r/machine                    {number, name?}                  the same

Whatever changes something needs a header `X-Requested-With`, with any value (web/core says why).
`GET /r/task/list?last=<count>` cuts the list to what has not ended and the newest, and counts all by state in the header
`X-Task-Counts`. A body that is not called JSON counts as empty (web/core says why); JSON that is none is a 400. When the scheduler
does not answer, so say 503 and a sentence.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.model import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.untrusted import Malformed, decode_any_json
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.answers import Answer, Declined, Ok, TaskListing, Unavailable
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct
from clusterodm.services.admin.commands.handlers import execute
from clusterodm.services.admin.rendering.json_objects import document, newest
from clusterodm.services.admin.web.core import is_json

HERE: Final = Path(__file__).parent
ASSETS: Final = {"admin.css": "text/css", "admin.js": "text/javascript", "icon.svg": "image/svg+xml"}
NAME: Final = "ClusterODM"


def page(bus: Bus, *, has_password: bool) -> ASGIApp:
    """Make the page. Who may come so far: guard.py."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    for router in (
        page_routes(has_password=has_password),
        read_routes(bus),
        node_routes(bus),
        task_routes(bus),
        autoscaler_routes(bus),
    ):
        app.include_router(router)
    return app


async def http_error(_request: Request, error: Exception) -> Response:
    """Say what is wrong with a request; nothing of our insides."""
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    return (
        JSONResponse({"error": known.detail}, status_code=known.status_code)
        if known.detail
        else Response(status_code=known.status_code)
    )


async def validation_error(_request: Request, error: Exception) -> Response:
    """Say which part of an address cannot be read, and why."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    reasons = (f"{'.'.join(str(place) for place in each['loc'][1:])}: {each['msg']}" for each in found)
    return JSONResponse({"error": "; ".join(reasons)}, status_code=422)


def page_routes(*, has_password: bool) -> APIRouter:
    """Serve what a browser loads."""
    router = APIRouter()
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True)
    text = templates.get_template("index.html").render(name=NAME, version=VERSION, has_password=has_password)
    assets = {name: (HERE / "static" / name).read_bytes() for name in ASSETS}

    @router.get("/")
    async def index() -> Response:
        return HTMLResponse(text)

    @router.get("/static/{name}")
    async def asset(name: str) -> Response:
        if name not in assets:
            raise HTTPException(404)
        return Response(assets[name], media_type=ASSETS[name])

    @router.get("/signout")
    async def signout() -> Response:
        return HTMLResponse('Signed out. <a href="/">Sign in again</a>', status_code=401)

    return router


def read_routes(bus: Bus) -> APIRouter:
    """Serve what changes nothing."""
    router = APIRouter()

    @router.get("/r/info")
    async def info() -> Response:
        return JSONResponse({"name": NAME, "version": VERSION})

    @router.get("/r/node/list")
    async def node_list() -> Response:
        return respond(await execute(bus, commands.ListNodesCommand()))

    @router.get("/r/task/list")
    async def task_list(last: int | None = None) -> Response:
        answer = await execute(bus, commands.ListTasksCommand())
        if last is None or not isinstance(answer, TaskListing):
            return respond(answer)
        response = respond(TaskListing(newest(answer.tasks, last)))
        counts = Counter(task.state.value for task in answer.tasks)
        response.headers["X-Task-Counts"] = msgspec.json.encode(counts).decode()
        return response

    return router


def node_routes(bus: Bus) -> APIRouter:
    """Serve what changes nodes."""
    router = APIRouter()

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
    router = APIRouter()

    @router.post("/r/task/cancel")
    async def task_cancel(request: Request) -> Response:
        return await change_task(bus, TaskAct.CANCEL, request)

    @router.post("/r/task/remove")
    async def task_remove(request: Request) -> Response:
        return await change_task(bus, TaskAct.REMOVE, request)

    return router


def autoscaler_routes(bus: Bus) -> APIRouter:
    """Serve what is the autoscaler's."""
    router = APIRouter()

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

    @router.delete("/r/machine")
    async def destroy(request: Request) -> Response:
        fields = await json_fields(request)
        number = commands.node_number(str(fields.get("number")))
        return respond(await execute(bus, commands.DestroyMachineCommand(number, str(fields.get("name") or ""))))

    return router


async def change_node(bus: Bus, act: NodeAct, request: Request) -> Response:
    """Lock, unlock or delete a node."""
    fields = await json_fields(request)
    number = fields.get("number")
    if not number:
        return Response(status_code=403)
    answer = await execute(
        bus, commands.ChangeNodeCommand(act, commands.node_number(str(number)), str(fields.get("name") or ""))
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
    hostname, port, token = fields.get("hostname"), commands.port(str(fields.get("port"))), fields.get("token") or ""
    if not isinstance(hostname, str) or not hostname.strip() or port is None or not isinstance(token, str):
        return None
    return commands.AddNodeCommand(bare(hostname), port, token)


def respond(answer: Answer) -> Response:
    """Put an answer into JSON; 503 when nobody gave one."""
    if isinstance(answer, Unavailable):
        return JSONResponse({"error": answer.reason}, status_code=503)
    return JSONResponse(document(answer))


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
