"""What is asked again and again: `/info`, a task's info and output, the list of tasks, the options.

An unknown task is 200 `{"error"}`; where nobody can tell at the moment, the connection is closed: the clients ask again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, NotFound
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.nodeodm_api import NO_OPTIONS, NOT_FOUND, cannot_handle
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.nodes.ports import Upstream
from clusterodm.services.proxy.polling.core.task_info import line_number
from clusterodm.services.proxy.polling.handlers.coalesce import PollCoalescer
from clusterodm.services.proxy.polling.handlers.node_answers import NodeAnswers, NodePoller
from clusterodm.services.proxy.polling.handlers.read import Reader
from clusterodm.services.proxy.tenants.core import limited_options

INFO: Final = "info"
OUTPUT: Final = "output"

at_will = structlog.get_logger(at_will=True)


class PollRoutes:
    """Answers polls that do not come the fast way."""

    def __init__(self, reader: Reader, polls: PollCoalescer, finder: TaskFinder) -> None:
        self._reader = reader
        self._polls = polls
        self._finder = finder

    async def info(self, exchange: RequestContext) -> None:
        """`/info`."""
        await exchange.json(self._polls.info(exchange.tenant))

    async def task(self, exchange: RequestContext, task: TaskId, action: str) -> None:
        """`/task/<id>/<action>`."""
        try:
            await self._poll(exchange, task, exchange.owner, action)
        except NotFound as error:
            await exchange.refuse(error.message)
        except BusFailed as error:
            at_will.info("poll.dropped", task=task, reason=error.message)
            exchange.drop()

    async def _poll(self, exchange: RequestContext, task: TaskId, owner: Owner, action: str) -> None:
        if action == INFO:
            wanted = exchange.parameter("with_output")
            info = await self._reader.info(task, owner, None if wanted is None else line_number(wanted))
            await tell(exchange, info, info.get("output", ()))
        elif action == OUTPUT:
            lines = await self._reader.output(task, owner, line_number(exchange.parameter("line") or ""))
            await tell(exchange, lines, lines)
        else:
            await self._finder.find(task, owner, action)
            await exchange.refuse(cannot_handle(exchange.path), NOT_FOUND)

    async def tasks(self, exchange: RequestContext) -> None:
        """`/task/list`: the client's tasks."""
        try:
            listed = await self._reader.tasks_of(exchange.owner)
        except BusFailed:
            exchange.drop()
        else:
            await exchange.json(listed)

    async def options(self, exchange: RequestContext) -> None:
        """`/options`: those that tasks may have."""
        limits = exchange.tenant.options if exchange.tenant else {}
        await exchange.json(limited_options(self._reader.options(), limits) or {"error": NO_OPTIONS})


async def tell(exchange: RequestContext, said: Any, lines: Sequence[str]) -> None:
    """Answer a poll. Long consoles go out one in each turn of the loop: many who ask at once would otherwise each have a copy before any is sent."""
    await exchange.bounds.together.turn(sum(map(len, lines)))
    await exchange.json(said)


@dataclass(frozen=True)
class Polling:
    """All that answers polls."""

    reader: Reader
    answers: NodeAnswers
    polls: PollCoalescer
    routes: PollRoutes


def open_polling(  # noqa: PLR0913 where answers come from, and how old they may be
    bus: Bus, cluster: Cluster, nodes: Upstream, finder: TaskFinder, clock: Clock, *, fresh_s: float = 0.0
) -> Polling:
    """Put together how polls are answered; what a node says is told again for `fresh_s`."""
    answers = NodeAnswers(cluster, NodePoller(nodes, clock.instant, fresh_s=fresh_s), finder.confirmer, clock)
    reader = Reader(bus, cluster, finder, answers, clock)
    polls = PollCoalescer(reader, finder, answers.fresh, cluster)
    return Polling(reader, answers, polls, PollRoutes(reader, polls, finder))
