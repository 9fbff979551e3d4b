"""The way to a node: the calls of one attempt, each in a thread of its own. Implements ports.Sender.

Threads and `sendfile`, because the event loop of the proxy (uvloop) would copy every byte through Python, and because a
blocked thread harms nobody: each attempt has its share of them, so one hung node holds up its own task only.
Only what the node needs is sent: the client's webhook is not (the cluster tells the client itself, under the public id).
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.services.proxy.forwarding.adapters.node_call import CallTimeouts, NodeCall, Throttle
from clusterodm.services.proxy.forwarding.core.decisions import ImagesCount
from clusterodm.services.proxy.forwarding.core.node_messages import (
    Multipart,
    NodeResponse,
    Status,
    Urlencoded,
    form,
    one_file,
)
from clusterodm.services.proxy.spool.core.upload import Draft


class NodeSender:
    """Talks to any number of nodes; made by `open_sender`."""

    def __init__(self, threads: Executor, throttle: Throttle, limits: CallTimeouts) -> None:
        self._threads = threads
        self.throttle = throttle
        self._limits = limits

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        """`POST /task/new/init`."""
        body = form(fresh_boundary(), fields_of(draft))
        answer = await self._call(node, "/task/new/init", body, attempt=attempt)
        require(answer.uuid == attempt, node)

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        """`POST /task/new/upload/<id>` with one file."""
        answer = await self._call(node, f"/task/new/upload/{attempt}", one_file(fresh_boundary(), name), file=path)
        require(answer.success is True, node)

    async def commit(self, node: Node, attempt: NodeTaskId, by: Instant | None = None) -> None:
        """`POST /task/new/commit/<id>`."""
        answer = await self._call(node, f"/task/new/commit/{attempt}", None, by=by)
        require(answer.uuid == attempt, node)

    async def discard(self, node: Node, attempt: NodeTaskId) -> None:
        """`POST /task/new/init` with options that no node takes.

        NodeODM has no call that removes an upload before its commit (`/task/remove` knows committed tasks only), but a refused
        init removes what was uploaded under its id; that of a committed task is refused before anything is touched.
        """
        with suppress(NodeRefused):
            await self._call(node, "/task/new/init", form(fresh_boundary(), [("options", "[")]), attempt=attempt)

    async def count_images(self, node: Node, attempt: NodeTaskId) -> ImagesCount:
        """`GET /task/<id>/info`. A task that is being initialised is RUNNING and has no processing time yet."""
        answer = await self._call(node, f"/task/{attempt}/info", None, method="GET")
        require(answer.uuid == attempt and answer.status is not None, node)
        initialising = answer.status == Status(StatusCode.RUNNING) and answer.processing_time < 0
        return ImagesCount(answer.images_count, settled=not initialising)

    async def remove(self, node: Node, attempt: NodeTaskId) -> None:
        """`POST /task/remove`."""
        answer = await self._call(node, "/task/remove", Urlencoded(urlencode({"uuid": attempt}).encode()))
        require(answer.success is True, node)

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft, by: Instant | None = None) -> None:
        """`POST /task/new` with `zipurl`."""
        body = form(fresh_boundary(), [*fields_of(draft), ("zipurl", draft.zip_url)])
        answer = await self._call(node, "/task/new", body, attempt=attempt, by=by)
        require(answer.uuid == attempt, node)

    async def _call(  # noqa: PLR0913 what a call may have
        self,
        node: Node,
        path: str,
        body: Multipart | Urlencoded | None,
        *,
        attempt: NodeTaskId | None = None,
        file: Path | None = None,
        by: Instant | None = None,
        method: str = "POST",
    ) -> NodeResponse:
        headers = {"set-uuid": attempt} if attempt else None
        call = NodeCall(
            node,
            path,
            body,
            limits=self._limits,
            throttle=self.throttle,
            headers=headers,
            file=file,
            by=by,
            method=method,
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call.run)
        except asyncio.CancelledError:
            call.abort()
            raise


@asynccontextmanager
async def open_sender(
    threads_count: int,
    *,
    max_bytes_per_s: int = 0,
    limits: CallTimeouts | None = None,
    beside: NodeSender | None = None,
) -> AsyncIterator[NodeSender]:
    """Open the way to the nodes with at most `threads_count` transfers at once; 0 bytes per second is no limit.

    `beside` another one it shares the limit of speed, but not the threads.
    """
    threads = ThreadPoolExecutor(threads_count, thread_name_prefix="forward")
    throttle = beside.throttle if beside else Throttle(max_bytes_per_s)
    try:
        yield NodeSender(threads, throttle, limits or CallTimeouts())
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def fields_of(draft: Draft) -> list[tuple[str, str]]:
    """Write a draft as NodeODM's form fields."""
    fields = [
        ("name", draft.name),
        ("options", msgspec.json.encode(draft.options).decode()),
        ("dateCreated", str(draft.created_at_ms)),
    ]
    if draft.skip_post_processing:
        fields.append(("skipPostProcessing", "true"))
    if draft.outputs:
        fields.append(("outputs", draft.outputs))
    return fields


def fresh_boundary() -> str:
    """Make a boundary that is in no file."""
    return f"----clusterodm{uuid.uuid4().hex}"


def require(holds: bool, node: Node) -> None:
    """Raise NodeFailed for an answer that is not NodeODM's."""
    if not holds:
        raise NodeFailed(f"{node.name} answered something else than NodeODM does")
