"""The HTTP API: each handler decodes, calls the node, encodes. Shapes and texts are NodeODM's.

A failure is 200 with `{"error": ...}`, a wrong token too. Everything unknown,
and every known path with another method, is Express's 404 page.

By `/sim/...` a test steers the node while it runs: it needs the token, and passes the gate of a frozen node.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from clusterodm.libs.nodesim import forms, options, settings
from clusterodm.libs.nodesim.gate import Dropped, Drops, Gate
from clusterodm.libs.nodesim.node import Node, Refused
from clusterodm.libs.nodesim.store import Received
from clusterodm.libs.nodesim.tasks import TaskError
from clusterodm.libs.nodesim.wire import EXCEPTION_HANDLERS, Handler, answer, body, fields, guarded

CHUNK_BYTES: Final = 1024 * 1024
STATIC: Final = Path(__file__).with_name("static")
PAGES: Final = {
    "/": ("index.html", "text/html"),
    "/index.html": ("index.html", "text/html"),
    "/nodesim.css": ("nodesim.css", "text/css"),
    "/nodesim.js": ("nodesim.js", "text/javascript"),
    "/favicon.ico": ("favicon.ico", "image/x-icon"),
}
"""The web page of a node and its parts. Served without a token, as NodeODM's; the page passes `?token=` on itself."""


class Asset(FileResponse):
    """A result, read in large chunks."""

    chunk_size = CHUNK_BYTES


def application(node: Node) -> Gate:
    """Make the ASGI application of a node."""
    routes = [*Api(node).routes(), *(Route(path, page) for path in PAGES), *Control(node).routes()]
    starlette = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    starlette.router.redirect_slashes = False
    return Gate(starlette, node)


class Api:
    """NodeODM's endpoints."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._drops = Drops(node)

    def routes(self) -> list[Route]:
        """All endpoints; those under /auth need no token."""
        get: list[tuple[str, Handler]] = [
            ("/info", self.info),
            ("/options", self.options),
            ("/task/list", self.list_tasks),
            ("/task/{uuid}/info", self.task_info),
            ("/task/{uuid}/output", self.output),
            ("/task/{uuid}/download/{asset}", self.download),
        ]
        post: list[tuple[str, Handler]] = [
            ("/task/new/init", self.init),
            ("/task/new/upload/{uuid}", self.upload),
            ("/task/new/commit/{uuid}", self.commit),
            ("/task/new", self.create),
            ("/task/cancel", self.cancel),
            ("/task/remove", self.remove),
            ("/task/restart", self.restart),
        ]
        return [
            *[Route(path, guarded(self._node, handler)) for path, handler in get],
            *[Route(path, guarded(self._node, handler), methods=["POST"]) for path, handler in post],
            Route("/auth/info", auth_info),
            Route("/auth/login", not_available, methods=["POST"]),
            Route("/auth/register", not_available, methods=["POST"]),
        ]

    async def info(self, request: Request) -> Response:
        """GET /info."""
        # NodeODM's own switch for testing clients: the one way to make it answer 401.
        if request.query_params.get("_debugUnauthorized"):
            return Response(status_code=HTTPStatus.UNAUTHORIZED)
        return answer(self._node.info())

    async def options(self, request: Request) -> Response:  # noqa: ARG002 - every handler takes the request
        """GET /options."""
        return answer(self._node.options)

    async def list_tasks(self, request: Request) -> Response:  # noqa: ARG002 - every handler takes the request
        """GET /task/list."""
        return answer([{"uuid": uuid} for uuid in self._node.tasks.all])

    async def init(self, request: Request) -> Response:
        """POST /task/new/init: fields, no files."""
        uuid = self._node.new_uuid(request.headers.get("set-uuid", ""))
        form = await self._form(request, None)
        self._node.begin(uuid, form.fields if form else {})
        return answer({"uuid": uuid})

    async def upload(self, request: Request) -> Response:
        """POST /task/new/upload/{uuid}: one or more files."""
        uuid = request.path_params["uuid"]
        self._node.store.check_begun(uuid)
        drop = self._drops.upload(request)
        if drop.answers_500:
            return _internal_error()
        drop.before()
        size_bytes = int(request.headers.get("content-length", 0))
        form = await self._form(request, uuid, drop.midway(request.stream(), size_bytes))
        drop.after()
        if drop.answers_500_after:
            return _internal_error()
        if form is None or not form.files:
            return answer({"error": "Need at least 1 file.", "noRetry": True})
        return answer({"success": True})

    async def commit(self, request: Request) -> Response:
        """POST /task/new/commit/{uuid}."""
        uuid = request.path_params["uuid"]
        self._node.store.check_begun(uuid)
        drop = self._drops.commit(request)
        if drop.answers_500:
            return _internal_error()
        drop.before()
        self._node.commit(uuid)
        drop.after()
        if drop.answers_500_after:
            return _internal_error()
        return answer({"uuid": uuid})

    async def create(self, request: Request) -> Response:
        """POST /task/new: fields and files, or a zipurl."""
        uuid = self._node.new_uuid(request.headers.get("set-uuid", ""))
        form = await self._form(request, uuid)
        self._node.create(uuid, form.fields if form else {}, len(form.files) if form else 0)
        return answer({"uuid": uuid})

    async def task_info(self, request: Request) -> Response:
        """GET /task/{uuid}/info, with its output from line `with_output` on when asked for."""
        uuid = request.path_params["uuid"]
        info = self._node.task_info(uuid)
        if "with_output" in request.query_params:
            info["output"] = self._node.output(uuid, request.query_params["with_output"])
        return answer(info)

    async def output(self, request: Request) -> Response:
        """GET /task/{uuid}/output from line `line` on."""
        return answer(self._node.output(request.path_params["uuid"], request.query_params.get("line")))

    async def download(self, request: Request) -> Response:
        """GET or HEAD /task/{uuid}/download/all.zip."""
        self._node.tasks.find(request.path_params["uuid"])
        if request.path_params["asset"] != "all.zip":
            return answer({"error": "Invalid asset"})
        path = self._node.store.project(request.path_params["uuid"]) / "all.zip"
        if not path.exists():
            return answer({"error": "Asset not ready"})
        response = Asset(path, media_type="application/zip")
        response.headers["content-disposition"] = "attachment; filename=all.zip"
        if not self._node.settings.download_ranges:
            # NodeODM does not know ranges: it sends the whole file under 200.
            del response.headers["accept-ranges"]
            request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        return response

    async def cancel(self, request: Request) -> Response:
        """POST /task/cancel."""
        given = await fields(request)
        return await _done(self._later(self._node.cancel, given["uuid"])) if given.get("uuid") else _no_uuid()

    async def remove(self, request: Request) -> Response:
        """POST /task/remove."""
        given = await fields(request)
        return await _done(self._node.remove(given["uuid"])) if given.get("uuid") else _no_uuid()

    async def restart(self, request: Request) -> Response:
        """POST /task/restart, with other options when given."""
        given = await fields(request)
        if not given.get("uuid"):
            return _no_uuid()
        return await _done(self._later(self._node.restart, given["uuid"], given.get("options", "")))

    async def _form(
        self, request: Request, uuid: str | None, chunks: AsyncIterator[bytes] | None = None
    ) -> forms.Form | None:
        """Read a multipart body, its files into the uploads of the task; None when it is no such body."""
        boundary = forms.boundary(request.headers.get("content-type", ""))
        if boundary is None:
            return None
        opened: list[Received] = []

        def receive(name: str) -> Received:
            opened.append(self._node.receive(uuid or "", name))
            return opened[-1]

        form = forms.Form(boundary, receive if uuid else None)
        try:
            await form.read(chunks or request.stream())
        except ClientDisconnect:
            raise Dropped from None
        finally:
            for file in opened:
                if uuid and file.path.exists():
                    self._node.stored(uuid, file)
        return form

    @staticmethod
    async def _later(call: Callable[..., None], *arguments: str) -> None:
        call(*arguments)


async def auth_info(request: Request) -> Response:  # noqa: ARG001 - every handler takes the request
    """GET /auth/info."""
    return answer({"message": "Authentication not available on this node", "loginUrl": None, "registerUrl": None})


async def not_available(request: Request) -> Response:  # noqa: ARG001 - every handler takes the request
    """POST /auth/login and /auth/register."""
    return answer({"error": "Not available"})


async def _done(action: Awaitable[None]) -> Response:
    try:
        await action
    except TaskError as error:
        return answer({"success": False, "error": str(error)})
    return answer({"success": True})


def _internal_error() -> Response:
    return PlainTextResponse("Internal Server Error", HTTPStatus.INTERNAL_SERVER_ERROR)


def _no_uuid() -> Response:
    return answer({"error": "uuid param missing."})


async def page(request: Request) -> Response:
    """Send the file that belongs to the path."""
    name, media_type = PAGES[request.url.path]
    return FileResponse(STATIC / name, media_type=media_type, headers={"cache-control": "public, max-age=0"})


class Control:
    """The endpoints that no NodeODM has."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/sim/settings", guarded(self._node, self.show)),
            Route("/sim/settings", guarded(self._node, self.change), methods=["POST"]),
            Route("/sim/forget", guarded(self._node, self.forget), methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:  # noqa: ARG002 - every handler takes the request
        """GET /sim/settings: what can be changed, as it is."""
        return answer(settings.live(self._node.settings))

    async def change(self, request: Request) -> Response:
        """POST /sim/settings: change some, answer with all."""
        changes = options.parse_json((await body(request)).decode())
        if not isinstance(changes, dict):
            raise Refused("Not a JSON object")
        self._node.apply(settings.changed(self._node.settings, changes))
        return await self.show(request)

    async def forget(self, request: Request) -> Response:  # noqa: ARG002 - every handler takes the request
        """POST /sim/forget: lose all tasks and data."""
        self._node.forget()
        return answer({"success": True})
