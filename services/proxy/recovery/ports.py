"""What recovering needs of the other proxies."""

from collections.abc import Sequence
from typing import Protocol

from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.services.proxy.spool.core.history import Holding


class Holders(Protocol):
    """The other proxies, asked what they have of tasks."""

    async def ask(self, proxy: InstanceId, task: TaskId, owner: Owner | None = None) -> Holding | None:
        """Ask what one has of a task; None: it does not answer within a second, or nobody knows where it is. `owner`: of another owner it has nothing."""

    async def others(self) -> Sequence[InstanceId]:
        """List the other proxies that have announced themselves. Raises BusFailed."""
