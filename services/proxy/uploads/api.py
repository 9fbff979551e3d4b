"""The requests of an upload: init, files, commit; or all of them in one. Files go part by part into a receipt.

upload      refused: 4xx or 507 with {"error"}, after the rest of the body has been read; stalled: the connection is closed
one POST    as an upload for what is wrong with the body, 200 {"error"} for what is wrong with the task
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.errors import BodyTooLong, MalformedBody, SpoolFull
from clusterodm.services.proxy.exchange.forms import (
    MULTIPART,
    URLENCODED,
    kind_of,
    read_form,
    unsupported,
)
from clusterodm.services.proxy.exchange.multipart import (
    FileBegins,
    FileChunk,
    FileEnds,
    FormField,
    MultipartEvent,
    MultipartReader,
    boundary_of,
)
from clusterodm.services.proxy.exchange.nodeodm_api import NO_FILES, UUID_AT_END, no_uuid, status_of, words_of
from clusterodm.services.proxy.exchange.request import RequestContext, caller_of, text
from clusterodm.services.proxy.exchange.whole_files import WholeFile
from clusterodm.services.proxy.spool.ports import Part, Receipt, Spool
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.handlers.create import Check, Commits, UploadPolicy, Uploads
from clusterodm.services.proxy.uploads.handlers.whole import WholeUploads
from clusterodm.services.proxy.uploads.ports import Forwarding

IMAGES: Final = "images"
"""The one field name under which NodeODM takes files."""
SUCCESS: Final = b'{"success":true}'
WRITE_LIMIT_BYTES: Final = 256 * 1024
FILL_FROM_BYTES: Final = 64 * 1024
"""With less to come a thread is not worth it."""
FILL_AFTER_BYTES: Final = 32 * 1024
"""Before that a file may be a small one."""
AGAIN_BYTES: Final = 16 * 1024 * 1024
FILES_LIMIT_COUNT: Final = 25_000
"""An empty file is a hundred bytes of a body, and all files of a request are kept in mind until it is complete."""
FILE_BYTES: Final = 320
"""What keeping one in mind takes: with the path of its part and its name."""

at_will = structlog.get_logger(at_will=True)


class UploadRoutes:
    """Answers what begins under `/task/new`."""

    def __init__(
        self, uploads: Uploads, whole: WholeUploads, commits: Commits, *, public_address: str, stall_s: float
    ) -> None:
        self._uploads = uploads
        self.whole = whole
        """Takes what needs no more than its bytes."""
        self._commits = commits
        self._public_address = public_address
        self._stall_s = stall_s

    async def init(self, exchange: RequestContext) -> None:
        """`POST /task/new/init`."""
        form = await read_form(exchange, self._stall_s, any_kind=True)
        client = caller_of(exchange, self._public_address)
        task = await self._uploads.init(client, text(exchange.header(b"set-uuid")), form)
        exchange.is_about(task)
        await exchange.json({"uuid": task})

    async def commit(self, exchange: RequestContext) -> None:
        """`POST /task/new/commit/<id>`; whatever is in front of the id is not looked at."""
        task = task_of(exchange)
        await exchange.json({"uuid": await self._commits.commit(caller_of(exchange, self._public_address), task)})

    async def upload(self, exchange: RequestContext) -> None:
        """`POST /task/new/upload/<id>`."""
        try:
            await self._take_upload(exchange)
        except ClusterError as error:
            at_will.info("upload.refused", path=exchange.path, reason=error.message)
            await exchange.drain_after(error)
            await exchange.refuse(words_of(error), status_of(error))
            return
        await exchange.json(SUCCESS)

    async def _take_upload(self, exchange: RequestContext) -> None:
        async def read(receipt: Receipt, check: Check) -> None:
            await read_upload(exchange, receipt, self._stall_s, check)
            if not receipt.files_count:
                raise MalformedBody(NO_FILES)

        client = caller_of(exchange, self._public_address)
        await self._uploads.upload(client, task_of(exchange), read, exchange.length_bytes)

    async def new(self, exchange: RequestContext) -> None:
        """`POST /task/new`: fields and files in one request."""
        try:
            task = await self._take_task(exchange)
        except ClusterError as error:
            at_will.info("task.refused", reason=error.message)
            await exchange.drain_after(error)
            about_task = isinstance(error, Refused) and not isinstance(error, MalformedBody | SpoolFull | BodyTooLong)
            await exchange.refuse(words_of(error), 200 if about_task else status_of(error))
            return
        await exchange.json({"uuid": task})

    async def _take_task(self, exchange: RequestContext) -> TaskId:
        def read(receipt: Receipt, check: Check) -> Awaitable[dict[str, str]]:
            return read_upload(exchange, receipt, self._stall_s, check)

        client = caller_of(exchange, self._public_address)
        task = await self._uploads.begin(client, text(exchange.header(b"set-uuid")))
        exchange.is_about(task)
        try:
            form = await self._uploads.upload(client, task, read, exchange.length_bytes, more_follow=False)
            await self._uploads.describe(client, task, form)
            return await self._commits.commit(client, task)
        except BaseException:
            await asyncio.shield(self._commits.abandon(client, task))
            raise


@dataclass(frozen=True)
class Uploading:
    """All that takes uploads."""

    commits: Commits
    routes: UploadRoutes


def open_uploads(  # noqa: PLR0913, PLR0917 what it needs of the world, by name
    bus: Bus,
    cluster: Cluster,
    spool: Spool,
    forwarding: Forwarding,
    policy: UploadPolicy,
    checker: TokenChecker,
    *,
    public_address: str,
    stall_s: float,
    fresh_id: Callable[[], str],
) -> Uploading:
    """Put together how tasks come in."""
    uploads = Uploads(spool, cluster, forwarding, policy, now_ms=now_ms, fresh_id=fresh_id)
    commits = Commits(spool, bus, cluster, forwarding, policy, now_ms=now_ms, checker=checker)
    whole = WholeUploads(spool, cluster, forwarding)
    return Uploading(commits, UploadRoutes(uploads, whole, commits, public_address=public_address, stall_s=stall_s))


def task_of(exchange: RequestContext) -> TaskId:
    """Say which upload a request is about. Raises Refused."""
    match = UUID_AT_END.fullmatch(exchange.path)
    if match is None:
        raise Refused(no_uuid(exchange.path))
    return TaskId(match[1])


async def read_upload(exchange: RequestContext, receipt: Receipt, stall_s: float, check: Check) -> dict[str, str]:
    """Store the files of a request in a receipt; the fields beside them. Raises as `read_form`, SpoolFull, BodyTooLong, and what `check` raises."""
    content_type = exchange.header(b"content-type")
    kind = kind_of(content_type)
    if kind == URLENCODED:
        return await read_form(exchange, stall_s)
    if kind != MULTIPART:
        raise unsupported(kind)
    reader = MultipartReader(boundary_of(content_type or b""), whole=True)
    upload = UploadReader(reader, receipt)
    exchange.begin_upload()
    while (chunk := await exchange.upload_piece(stall_s)) is not None:
        await upload.feed(chunk)
        require_few(receipt.files_count)
        await exchange.keep_in_turn(reader.kept_bytes + receipt.files_count * FILE_BYTES)
        check(receipt.files_count, exchange.received_bytes)
        await receipt.hand_over()
        while upload.may_fill() and (behind := await upload.fill(exchange)) is not None:
            await upload.feed(behind)
    reader.finish()
    check(receipt.files_count, exchange.received_bytes)
    await exchange.bounds.together.turn(reader.kept_bytes)
    return upload.fields


class UploadReader:
    """Where the events of an upload go.

    The first pieces of a file go through the parser; once it is plain that a file is large, the socket is lent to its part,
    which takes everything up to the next delimiter by itself. What it has taken beyond that goes through the parser again.
    A client that falls silent meanwhile is waited for here, and gets another chance after AGAIN_BYTES.
    """

    def __init__(self, reader: MultipartReader, receipt: Receipt) -> None:
        self.fields: dict[str, str] = {}
        self._reader = reader
        self._receipt = receipt
        self._part: Part | None = None
        self._copy_bytes = 0
        """What is to be copied at least before the next attempt to do without."""
        self._came_bytes = 0
        """Of the file that is arriving."""

    async def feed(self, chunk: bytes) -> None:
        """Do what a piece of the body says."""
        self._copy_bytes = max(0, self._copy_bytes - len(chunk))
        for event in self._reader.feed(chunk):
            if isinstance(event, WholeFile):
                require_images(event.field)
                self._receipt.keep(event.filename, event.data)
            else:
                await self._take(event)

    def may_fill(self) -> bool:
        """Whether a file goes on that may take its bytes by itself."""
        return not self._copy_bytes and self._came_bytes >= FILL_AFTER_BYTES and self._reader.inside_file

    async def fill(self, exchange: RequestContext) -> bytes | None:
        """Let the file take its bytes from the socket; what it took beyond its end, None when it took nothing."""
        with exchange.cycle.body_socket() as lent:
            if lent is None or lent.left_bytes < FILL_FROM_BYTES:
                return None
            expected_bytes = lent.left_bytes
            try:
                behind = await self._open_part().fill(lent, self._reader.delimiter)
            finally:
                exchange.beside_bytes += expected_bytes - lent.left_bytes
            if lent.slow:
                self._copy_bytes = AGAIN_BYTES
            return behind

    async def _take(self, event: MultipartEvent) -> None:
        """Do what an event says."""
        match event:
            case FileChunk(data):
                self._came_bytes += len(data)
                self._write(data)
            case FileBegins(field, filename):
                require_images(field)
                self._came_bytes = 0
                self._part = await self._receipt.open(filename)
            case FileEnds():
                self._open_part().close()
            case FormField(name, value):
                if name == IMAGES and value:
                    raise MalformedBody(f"A part of the field {IMAGES} has no file name")
                self.fields[name] = value

    def _write(self, data: bytes) -> None:
        part = self._open_part()
        if len(data) <= WRITE_LIMIT_BYTES:
            part.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), WRITE_LIMIT_BYTES):
            part.write(view[start : start + WRITE_LIMIT_BYTES])

    def _open_part(self) -> Part:
        if self._part is None:
            raise Refused(NO_FILES)
        return self._part


def require_few(files_count: int) -> None:
    """Raise BodyTooLong for a request of more files than are kept in mind."""
    if files_count > FILES_LIMIT_COUNT:
        raise BodyTooLong(f"More than {FILES_LIMIT_COUNT} files in one request: send them in several.")


def require_images(field: str) -> None:
    """Raise MalformedBody for a file in another field than that of files."""
    if field != IMAGES:
        raise MalformedBody(f"Unexpected field: {field[:100]}")
