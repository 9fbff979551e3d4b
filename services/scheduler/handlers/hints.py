"""Tells those who ask for single tasks (PLACE_TASK) that it is worth asking, and everybody who leads.

A hint reserves nothing: who comes first gets the slot.
"""

from heapq import merge
from itertools import islice
from typing import Final

from libs.common.clocks import Instant
from libs.common.messages import PLACEMENT_POSSIBLE, PlacementPossible
from libs.common.model import InstanceId, TaskId
from libs.common.ports import Bus
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.polls import Polls

HINTED_COUNT: Final = 16
REMEMBERED_S: Final = 60.0
"""Who asked for a single task gets hints for so long."""


class Hints:
    """What is told without having been asked."""

    def __init__(self, ledger: Ledger, bus: Bus, polls: Polls) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._bus = bus
        self._polls = polls
        self._asked: dict[InstanceId, Instant] = {}
        self._told: tuple[int, tuple[TaskId, ...]] = (0, ())

    def __repr__(self) -> str:
        """Show how many would hear."""
        return f"Hints(to={len(self._asked)})"

    def asked(self, holder: InstanceId) -> None:
        """Note that a holder asks for single tasks."""
        self._asked[holder] = self._ledger.instant()

    async def tell_who_leads(self) -> None:
        """Have all questions asked again that a predecessor will not answer."""
        await self._tell(())

    async def tell(self) -> None:
        """Tell whom it may concern, once for each change of the nodes."""
        now = self._ledger.instant()
        self._asked = {holder: at for holder, at in self._asked.items() if now - at < REMEMBERED_S}
        hint = (self._board.nodes.version, self._worth_asking())
        if hint[1] and hint != self._told:
            self._told = hint
            await self._tell(hint[1])

    def _worth_asking(self) -> tuple[TaskId, ...]:
        if not self._asked or not self._board.nodes.has_room:
            return ()
        lanes = [
            lane
            for holder in self._asked
            if not self._polls.of(holder)
            for lane in self._board.lanes.of_holder(holder)
            if self._board.nodes.free_for(lane.need)
        ]
        return tuple(task for _, task in islice(merge(*lanes), HINTED_COUNT))

    async def _tell(self, tasks: tuple[TaskId, ...]) -> None:
        await self._bus.tell(PLACEMENT_POSSIBLE, PlacementPossible(tasks=tasks, epoch=self._ledger.office.epoch))
