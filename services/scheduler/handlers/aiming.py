"""Answers AIM_UPLOAD: where the files of an upload may go before its commit. What that means is said in core/aims.py.

Nothing of it is written down: after a restart the holders ask again within seconds, and say where their files go.
"""

import structlog

from libs.common.messages import Aimed, AimReply, AimUpload, NoAim
from libs.common.model import Task, TaskState
from services.scheduler.core.aims import Aims, Nowhere
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.placement import Need
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()


class Aimer:
    """Keeps the aims."""

    def __init__(self, ledger: Ledger, settings: SchedulerSettings) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self.aims = Aims(ledger.board.nodes, settings.aim_s, settings.aims_per_node_count)
        ledger.noticed.append(self._notice)

    async def aim(self, asked: AimUpload) -> AimReply:
        """Say where files of an upload may go now."""
        found = self._found(asked)
        log.debug("upload aimed", task=asked.task, holder=asked.holder, at=repr(found))
        return NoAim(reason=found.reason) if isinstance(found, Nowhere) else Aimed(node=found.record)

    def _found(self, asked: AimUpload) -> NodeState | Nowhere:
        if asked.task in self._board.tasks:
            return Nowhere("it is committed")
        if not self._board.allowance.left_count(asked.owner):
            self.aims.drop(asked.task)
            return Nowhere("as many tasks of this user are under way as may be")
        need = Need(images_count=asked.images_count, task=asked.task)
        return self.aims.aim(need, asked.node, self._ledger.instant())

    async def expire(self) -> None:
        """Forget uploads that nobody asks about any more."""
        for aim in self.aims.expire(self._ledger.instant()):
            log.info("aim expired", task=aim.task, node=aim.node)

    def _notice(self, _before: Task | None, after: Task | None) -> None:
        """End the aim of a task that has its place."""
        if after is not None and after.state is not TaskState.WAITING:
            self.aims.drop(after.id)
