"""What uploads need of the world: somebody who takes over what was committed."""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.proxy.spool.core.upload import StoredFile


class Forwarding(Protocol):
    """The loops behind the spool, as the HTTP side sees them."""

    async def adopt(self, task: TaskId) -> None:
        """Take over a task that the scheduler has just acknowledged (SUBMIT_TASK); again: nothing happens."""

    async def staged_of(self, task: TaskId) -> StagedFiles | None:
        """Say with what an attempt of a committed task could go on; None: nothing of use went ahead."""

    def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> Coroutine[Any, Any, None] | None:
        """Take note that files of an open upload are complete. What is returned is to be awaited by somebody."""
