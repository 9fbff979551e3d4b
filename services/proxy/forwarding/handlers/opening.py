"""Opens the story: everything that sends tasks to their nodes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingLimits
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from clusterodm.services.proxy.forwarding.handlers.stage_in import UploadStageIn
from clusterodm.services.proxy.forwarding.ports import KeptInputs, Sender, TaskEnd
from clusterodm.services.proxy.spool.ports import Spool


@asynccontextmanager
async def open_forwarding(  # noqa: PLR0913 what it works with
    bus: Bus,
    spool: Spool,
    cluster: Cluster,
    senders: tuple[Sender, Sender],
    end: TaskEnd,
    *,
    inputs: KeptInputs | None,
    limits: ForwardingLimits,
    fresh_id: Callable[[], str],
) -> AsyncIterator[Forwarder]:
    """Forward while the context is open; `senders`: for attempts, and for what goes ahead of the commit."""
    sender, ahead_sender = senders
    stage_in = UploadStageIn(
        bus,
        spool,
        ahead_sender,
        cluster.node,
        from_bytes=limits.ahead_from_bytes,
        parallel_count=limits.files_count,
        one_link=limits.one_link,
        clock=SystemClock(),
        fresh_id=fresh_id,
    )
    forwarder = Forwarder(
        bus,
        spool,
        sender,
        cluster,
        end,
        tasks_count=limits.tasks_count,
        parallel_count=limits.files_count,
        inputs=inputs,
        stage_in=stage_in,
    )
    async with forwarder.running():
        yield forwarder
