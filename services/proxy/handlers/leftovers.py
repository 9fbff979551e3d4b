"""Removes from nodes what was sent there and will never be committed: half uploads take room for days otherwise.

The attempt of a canceled task, or one that failed, is over before its files are gone; so they go in the background, and a node that is
away costs nobody time. What cannot be removed is removed by the scheduler (which remembers the attempt), or by the node itself.

Never called for a commit that may be on its way: NodeODM would delete files that it is just taking over.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import structlog

from libs.common.errors import ClusterError
from libs.common.lifecycle import Crew, monotonic_s
from libs.common.model import Node, NodeTaskId, TaskId
from libs.common.retry import RetryPolicy
from services.proxy.handlers.delivery import chance
from services.proxy.ports import Sender

log = structlog.get_logger()

AT_ONCE_COUNT: Final = 16
DISCARD_S: Final = 10.0
"""One try."""
STOP_S: Final = 1.0
"""What is left when the proxy stops has so long."""


class Leftovers:
    """Discards uploads on nodes. Open it with `running()` for what goes in the background."""

    def __init__(self, sender: Sender, policy: RetryPolicy) -> None:
        self._sender = sender
        self._policy = policy
        self._crew = Crew(AT_ONCE_COUNT, STOP_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the context is open."""
        async with self._crew:
            yield

    async def remove_later(self, task: TaskId, node: Node, node_task_id: NodeTaskId) -> None:
        """Begin to remove an upload."""
        await self._crew.start(self.remove(task, node, node_task_id), name=f"discard {node_task_id}")

    async def remove(self, task: TaskId, node: Node, node_task_id: NodeTaskId) -> None:
        """Remove an upload, as far as its node can be reached."""
        began_s = monotonic_s()
        for tries_count in count(1):
            try:
                async with asyncio.timeout(DISCARD_S):
                    await self._sender.discard(node, node_task_id)
            except (ClusterError, TimeoutError) as error:
                pause_s = self._policy.pause_s(tries_count, monotonic_s() - began_s, chance())
                if pause_s is None:
                    log.info("upload left on the node", task=task, node=node.name, reason=str(error))
                    return
                await asyncio.sleep(pause_s)
            else:
                return
