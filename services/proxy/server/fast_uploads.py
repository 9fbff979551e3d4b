"""Uploads of small files, read without a parser: one request, all of whose files lie in one short body.

As with polls (fast_path.py), a head is read by one expression that knows only what clients send when they upload. Anything else goes the usual way: another
header that decides something, a body that is long or no row of plain files, a token, an upload or a disk that is not certain to take it. Here a
request is only ever answered with success; whatever is refused, and what fails on its way to the disk, begins anew on the usual way, which says
what is wrong. So this can only be quick, and never decide differently.

A request that is read takes its place among the uploads at once (`UploadLimiter`), before its body is waited for.
"""

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.http_io.sharing import Take
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.telemetry.request_context import cause, new_cause, tenant
from clusterodm.libs.common.tenancy import ShownToken, Tenant, shown
from clusterodm.services.proxy.exchange.forms import MULTIPART, kind_of
from clusterodm.services.proxy.exchange.limits import BodyLimits, UploadLimiter
from clusterodm.services.proxy.exchange.multipart import boundary_of
from clusterodm.services.proxy.exchange.request import OK, TOGETHER_BYTES, parameters
from clusterodm.services.proxy.exchange.whole_files import whole_files
from clusterodm.services.proxy.server.endpoints import UPLOAD
from clusterodm.services.proxy.server.fast_path import HEAD_LIMIT_BYTES, LINES, REMEMBERED_COUNT, plain_lines
from clusterodm.services.proxy.server.meter import RequestMeter
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.api import IMAGES, SUCCESS
from clusterodm.services.proxy.uploads.handlers.whole import WholeUploads

HEAD: Final = re.compile(rb"POST /task/new/upload/(\w+-\w+-\w+-\w+-\w+)(?:\?(token=[\w%.~+-]*))? HTTP/1\.1\r\n" + LINES)
BEGINNING: Final = b"POST /task/new/upload/"
FILES_COUNT: Final = 16
"""Of one request; of more, each takes memory, which the usual way counts."""
LENGTH: Final = re.compile(rb"[1-9]\d{0,4}")


@dataclass(slots=True)
class PlainUpload:
    """An upload request that has been read."""

    task: TaskId
    token: ShownToken
    tenant: Tenant
    """For whom it spoke when it came."""
    boundary: bytes
    head_bytes: int
    size_bytes: int
    keeps: bool

    def __repr__(self) -> str:
        """Show no token."""
        return f"PlainUpload({self.task} size={self.size_bytes})"

    @property
    def account(self) -> str:
        """For whom it speaks."""
        return self.tenant.account


class UploadFastPath:
    """Reads plain uploads, and answers them."""

    def __init__(
        self,
        uploads: WholeUploads,
        limiter: UploadLimiter,
        bounds: BodyLimits,
        checker: TokenChecker,
        meter: RequestMeter,
    ) -> None:
        self._uploads = uploads
        self._limiter = limiter
        self._checker = checker
        self._meter = meter.of(UPLOAD)
        self._limit_bytes = min(TOGETHER_BYTES, bounds.body_bytes or TOGETHER_BYTES)

    def __repr__(self) -> str:
        """Show how long a body may be."""
        return f"UploadFastPath(limit={self._limit_bytes})"

    def read(self, data: bytes) -> PlainUpload | None:
        """Read a head, and take a place for its request; None: it is not plain, or cannot be taken now."""
        found = HEAD.match(data, 0, HEAD_LIMIT_BYTES) if data.startswith(BEGINNING) else None
        plain = plain_lines(found[3]) if found else None
        if found is None or plain is None:
            return None
        headers, keeps = plain
        length, kind = headers.get(b"content-length", b""), headers.get(b"content-type", b"")
        if not LENGTH.fullmatch(length) or int(length) > self._limit_bytes or kind_of(kind) != MULTIPART:
            return None
        try:
            boundary = boundary_of(kind)
        except ClusterError:
            return None
        token = token_of(found[2] or b"")
        speaks_for = self._checker.known(token)
        if speaks_for is None or not self._limiter.enter():
            return None
        end = found.end()
        return PlainUpload(TaskId(found[1].decode()), token, speaks_for, boundary, end, end + int(length), keeps)

    def answer(self, plain: PlainUpload, data: bytes, take: Take) -> None:
        """Answer one once its files are on the disk."""

        def ended(behind: Coroutine[Any, Any, None] | None = None, *, well: bool = False) -> None:
            self.forget(plain)
            if behind is not None:  # what it logs is this request's
                cause.set(new_cause())
                tenant.set(plain.account)
            take(SUCCESS if well else None, behind)

        files = plain_files(data, plain)
        if files is None or self._checker.known(plain.token) is not plain.tenant:  # it may have waited for its body
            ended()
            return
        try:
            self._uploads.upload(plain.tenant, plain.task, files, plain.size_bytes - plain.head_bytes, ended)
        except (ClusterError, OSError):
            ended()

    def forget(self, plain: PlainUpload) -> None:
        """Give its place to another: it has been answered, or goes the usual way."""
        del plain
        self._limiter.leave()

    def count(self, plain: PlainUpload, seconds: float, sent_bytes: int) -> None:
        """Count an answer that is out."""
        self._meter.count(OK, seconds, plain.size_bytes - plain.head_bytes, sent_bytes)


def plain_files(data: bytes, plain: PlainUpload) -> list[tuple[str, bytes]] | None:
    """Read names and contents of its files; None: there is something else in it, or there are many."""
    files = whole_files(data, plain.head_bytes, plain.boundary)
    if files is None or len(files) > FILES_COUNT:
        return None
    named = [(file.filename, file.data) for file in files if file.field == IMAGES]
    return named if len(named) == len(files) else None


@lru_cache(REMEMBERED_COUNT)
def token_of(query: bytes) -> ShownToken:
    """Read the token in a query that has nothing else."""
    return shown(parameters(query).get("token", [""])[0])
