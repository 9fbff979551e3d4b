"""The hot paths, as plain ASGI: /info, polls, uploads, tasks in one request, downloads, pages.

What can go wrong, and what the client gets (the reasons are with the clients that need it so):

    poll        unknown task: 200 {"error"}; nobody can tell at the moment: the connection is closed
    upload      refused: 4xx or 507 with {"error"}, after the rest of the body has been read; stalled: the connection is closed
    one POST    as an upload for what is wrong with the body, 200 {"error"} for what is wrong with the task
    download    no result: 404 {"error"}; the node or the storage says no: 502 {"error"}; away, or gone half-way: closed;
                in a bucket: 302 to where it has just been seen
"""

import asyncio
from typing import Final
from urllib.parse import quote

import structlog

from libs.common.errors import BusFailed, ClusterError, NodeFailed, NoNode, NotFound, Refused
from libs.common.identity import owner_of
from libs.common.model import Owner, TaskId
from services.proxy.errors import BodyTooLong, MalformedBody, NodeRefused, SpoolFull
from services.proxy.exchange.nodeodm_api import (
    BAD_GATEWAY,
    NO_FILES,
    NO_NODES,
    NOT_FOUND,
    UUID_AT_END,
    cannot_handle,
    no_uuid,
    status_of,
    words_of,
)
from services.proxy.exchange.request import Exchange, client_of, text
from services.proxy.polling.core.task_info import line_number
from services.proxy.polling.handlers.coalesce import Polls
from services.proxy.polling.handlers.read import Reader
from services.proxy.results.handlers import Elsewhere, Relay, Relayed, Results, Wanted
from services.proxy.uploads.api import read_upload
from services.proxy.uploads.handlers.create import Creator

log = structlog.get_logger()

AGAIN_BYTES: Final = 16 * 1024 * 1024
"""What is copied of a body that had to be waited for, before it is tried without copying again."""

SAFE_IN_PATH: Final = "/!$&'()*+,;=:@~-._"

DOWNLOAD: Final = "download/"

DOWNLOADING: Final = frozenset(("GET", "HEAD"))

FOUND: Final = 302

NOT_KEPT: Final = (b"cache-control", b"no-store")
"""The address of a result is good for a short while, and for who asked."""


class HotPaths:
    """Answers the requests that come in masses."""

    def __init__(  # noqa: PLR0913 what it answers with
        self,
        reader: Reader,
        polls: Polls,
        relay: Relay,
        results: Results,
        creator: Creator,
        *,
        public_address: str,
        stall_s: float,
        download_stall_s: float,
    ) -> None:
        self._reader = reader
        self._polls = polls
        self._relay = relay
        self._results = results
        self._creator = creator
        self._public_address = public_address
        self._stall_s = stall_s
        self._download_stall_s = download_stall_s

    async def info(self, exchange: Exchange) -> None:
        """`/info`."""
        await exchange.json(self._polls.info())

    async def task(self, exchange: Exchange, task: TaskId, action: str) -> None:
        """`/task/<id>/<action>`."""
        owner = owner_of(exchange.token)
        if action.startswith(DOWNLOAD) and exchange.method in DOWNLOADING:
            await self._download(exchange, task, owner, action)
            return
        try:
            await self._poll(exchange, task, owner, action)
        except NotFound as error:
            await exchange.refuse(error.message)
        except BusFailed as error:
            log.info("poll dropped", task=task, reason=error.message)
            exchange.drop()

    async def _poll(self, exchange: Exchange, task: TaskId, owner: Owner, action: str) -> None:
        if action == "info":
            wanted = exchange.parameter("with_output")
            await exchange.json(await self._reader.info(task, owner, None if wanted is None else line_number(wanted)))
        elif action == "output":
            from_line = line_number(exchange.parameter("line") or "")
            await exchange.json(await self._reader.output(task, owner, from_line))
        else:
            await self._reader.find(task, owner, action)
            await exchange.refuse(cannot_handle(exchange.path), NOT_FOUND)

    # --- uploads

    async def upload(self, exchange: Exchange) -> None:
        """`POST /task/new/upload/<id>`."""
        try:
            await self._take_upload(exchange)
        except ClusterError as error:
            log.info("upload refused", path=exchange.path, reason=error.message)
            await exchange.drain()
            await exchange.refuse(words_of(error), status_of(error))
            return
        await exchange.json({"success": True})

    async def _take_upload(self, exchange: Exchange) -> None:
        match = UUID_AT_END.fullmatch(exchange.path)
        if match is None:
            raise Refused(no_uuid(exchange.path))
        client = client_of(exchange, self._public_address)
        async with self._creator.upload(client, TaskId(match[1]), exchange.length_bytes) as receipt:
            await read_upload(exchange, receipt, self._stall_s)
            if not receipt.files_count:
                raise MalformedBody(NO_FILES)

    async def new(self, exchange: Exchange) -> None:
        """`POST /task/new`: fields and files in one request."""
        try:
            task = await self._take_task(exchange)
        except ClusterError as error:
            log.info("task refused", reason=error.message)
            await exchange.drain()
            about_task = isinstance(error, Refused) and not isinstance(error, MalformedBody | SpoolFull | BodyTooLong)
            await exchange.refuse(words_of(error), 200 if about_task else status_of(error))
            return
        await exchange.json({"uuid": task})

    async def _take_task(self, exchange: Exchange) -> TaskId:
        client = client_of(exchange, self._public_address)
        task = await self._creator.begin(client, text(exchange.header(b"set-uuid")))
        try:
            async with self._creator.upload(client, task, exchange.length_bytes, more_follow=False) as receipt:
                form = await read_upload(exchange, receipt, self._stall_s)
            return await self._creator.complete(client, task, form)
        except BaseException:
            await asyncio.shield(self._creator.abandon(task))
            raise

    # --- downloads and pages

    async def _download(self, exchange: Exchange, task: TaskId, owner: Owner, action: str) -> None:
        asset = action.removeprefix(DOWNLOAD)
        if ".." in asset.split("/"):
            await exchange.refuse("Invalid asset", NOT_FOUND)
            return
        wanted = Wanted(exchange.method.encode(), quote(action, safe=SAFE_IN_PATH).encode(), exchange.headers)
        try:
            async with self._results.download(task, owner, wanted) as found:
                if isinstance(found, Elsewhere):
                    await exchange.empty(FOUND, [(b"location", found.url.encode()), NOT_KEPT])
                else:
                    await stream(exchange, found, self._download_stall_s)
        except (NotFound, NodeRefused) as error:
            status = NOT_FOUND if isinstance(error, NotFound) else BAD_GATEWAY
            await exchange.refuse(error.message, status)
        except (NodeFailed, BusFailed) as error:
            log.info("download dropped", task=task, asset=asset, reason=error.message)
            exchange.drop()

    async def page(self, exchange: Exchange) -> None:
        """`/`, `*.css`, ...: from a node."""
        if exchange.method not in DOWNLOADING:
            await exchange.refuse(cannot_handle(exchange.path))
            return
        wanted = Wanted(exchange.method.encode(), quote(exchange.path, safe=SAFE_IN_PATH).encode(), exchange.headers)
        try:
            async with self._relay.page(wanted) as relayed:
                await stream(exchange, relayed, self._download_stall_s)
        except NoNode:
            await exchange.refuse(NO_NODES)
        except (NodeFailed, BusFailed) as error:
            log.info("page dropped", path=exchange.path, reason=error.message)
            exchange.drop()


async def stream(exchange: Exchange, relayed: Relayed, stall_s: float) -> None:
    """Pass an answer on at the client's pace; whichever side breaks off, the other is closed."""
    await exchange.head(relayed.status, list(relayed.headers))
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch(exchange, relayed), name="watch client")
        try:
            complete = await copy(exchange, relayed, stall_s)
        finally:
            watcher.cancel()
    if not complete:
        exchange.drop()


async def copy(exchange: Exchange, relayed: Relayed, stall_s: float) -> bool:
    """Pass the body on, inside the kernel as far as possible; whether all of it came, and went."""
    again_bytes = 0
    try:
        async for chunk in relayed.body:
            again_bytes -= len(chunk)
            may_pour = again_bytes <= 0 and relayed.to_end and relayed.reply.may_pour
            async with asyncio.timeout(stall_s):
                await exchange.part(chunk, more=True)
                if may_pour:
                    await exchange.door.flushed()
            if may_pour and await pour(exchange, relayed):
                again_bytes = AGAIN_BYTES
            if exchange.door.gone:
                return False
    except TimeoutError:
        log.info("relay broken off", path=exchange.path, reason="the client does not take it")
        return False
    except NodeFailed as error:
        if exchange.door.gone:
            log.debug("client left", path=exchange.path)
        else:
            log.info("relay broken off", path=exchange.path, reason=error.message)
        return False
    await exchange.part(b"", more=False)
    return True


async def pour(exchange: Exchange, relayed: Relayed) -> bool:
    """Move the body from socket to socket as long as both keep up; False when that is not possible at all."""
    with exchange.door.answer_socket() as target:
        poured = None if target is None else await relayed.reply.pour(target)
    if poured is None:
        return False
    exchange.door.sent(poured.given_bytes)
    if poured.rest:
        await exchange.part(poured.rest, more=True)
    return True


async def watch(exchange: Exchange, relayed: Relayed) -> None:
    """Stop the node when the client leaves: while the node is silent nothing else would notice."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    relayed.reply.abort()
